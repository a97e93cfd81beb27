"""Eight CPU devices for every test, and a tiny backbone to share."""

import contextlib
import gc
import os

import jax
import pytest

from tests import compiling

# Before the first look at a device, which `import lst` does not take.
jax.config.update('jax_num_cpu_devices', 8)


@pytest.fixture(scope='session', autouse=True)
def compiled_once(tmp_path_factory):
  """Programs that several tests run, in any process, are compiled once."""
  folder = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    folder = folder.parent
  jax.config.update('jax_compilation_cache_dir', str(folder / 'compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)


# The files that take longest, and those that wait for processes, come first:
# at the end of a run none of them is left to one core alone.
FIRST = (
    'kills_test.py', 'contracts_test.py', 'hosts_test.py', 'resume_test.py')


def pytest_collection_modifyitems(items):
  """Puts the files that are `FIRST` ahead, all else in the order it has."""
  ranks = {name: rank for rank, name in enumerate(FIRST)}
  items.sort(key=lambda item: ranks.get(item.path.name, len(FIRST)))


def pytest_collection_finish():
  """Looks through what is imported for garbage no more, and less often."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(10_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
  """Compiles in little time, but where a test is marked `as_users`."""
  compiling.quickly(item.get_closest_marker('as_users') is None)


@contextlib.contextmanager
def devices(count: int):
  """Runs on so many devices; compiled in less time than for all of them."""
  from lst import sharding
  make_mesh = sharding.make_mesh
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, 'make_mesh', lambda *_: make_mesh(
        devices=jax.devices()[:count]))
    yield


@pytest.fixture(scope='module')
def two_devices():
  """For tests in which a batch is to be split, but not how often."""
  with devices(2):
    yield


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
