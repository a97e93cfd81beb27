"""Eight CPU devices for every test, and a tiny backbone to share."""

import jax
import pytest

# Before the first look at a device, which `import lst` does not take.
jax.config.update('jax_num_cpu_devices', 8)


@pytest.fixture(scope='session')
def weights(tmp_path_factory):
  """File of a tiny ViT with random weights, for `config.backbone.weights`."""
  from tests import tiny
  return str(tiny.write(tmp_path_factory.mktemp('backbone')))


@pytest.fixture(scope='session')
def backbone(weights):
  """The same, loaded, in float32."""
  from lst.backbones import backbone as backbones
  from tests import tiny
  return backbones.build(tiny.config(weights).backbone)


@pytest.fixture(scope='session')
def batch():
  """Eight images with labels, none of them padding."""
  from tests import tiny
  return tiny.batch()
