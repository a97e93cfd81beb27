"""Eight CPU devices, one of them for most tests, and a tiny backbone.

Programs for eight take half as long again to compile, so a mesh has one device
but where a test is marked `@pytest.mark.devices(8)`: what it is about is how
the work is split.
"""

import contextlib
import functools
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
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 1.0)


# The files that take longest, and those that wait for processes, come first:
# at the end of a run none of them is left to one core alone.
FIRST = (
    'kills_test.py', 'contracts_test.py', 'hosts_test.py', 'resume_test.py',
    'run_test.py')


def pytest_collection_modifyitems(items):
  """Puts the files that are `FIRST` ahead, all else in the order it has."""
  ranks = {name: rank for rank, name in enumerate(FIRST)}
  items.sort(key=lambda item: ranks.get(item.path.name, len(FIRST)))


_devices = 1


def pytest_collection_finish():
  """Has meshes made of `_devices`; what is imported is no garbage any more."""
  # Not before: types are checked of what is imported by then.
  from lst import sharding
  make_mesh = sharding.make_mesh

  @functools.wraps(make_mesh)
  def of_few(data=-1, fsdp=1, devices=None):
    return make_mesh(
        data, fsdp, jax.devices()[:_devices] if devices is None else devices)

  sharding.make_mesh = of_few
  gc.collect()
  gc.freeze()
  gc.set_threshold(10_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
  """How a test compiles, and for how many devices, ahead of its fixtures."""
  global _devices
  compiling.quickly(item.get_closest_marker('as_users') is None)
  marked = item.get_closest_marker('devices')
  _devices = marked.args[0] if marked else 1


@contextlib.contextmanager
def devices(count: int):
  """Has meshes of so many devices for a part of a test."""
  global _devices
  before, _devices = _devices, count
  try:
    yield
  finally:
    _devices = before


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
