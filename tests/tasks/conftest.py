"""Programs that several of these tests run are compiled once."""

import contextlib

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from lst import sharding


@pytest.fixture(scope='package', autouse=True)
def compiled_once(tmp_path_factory):
  was = (jax.config.jax_compilation_cache_dir,
         jax.config.jax_persistent_cache_min_compile_time_secs)
  names = ('jax_compilation_cache_dir',
           'jax_persistent_cache_min_compile_time_secs')
  now = str(tmp_path_factory.mktemp('compiled')), 0.1
  for values in (now, was):
    for name, value in zip(names, values, strict=True):
      jax.config.update(name, value)
    compilation_cache.reset_cache()
    if values is now:
      yield


@pytest.fixture
def one_device():
  """Quicker to compile for than all of them."""
  with devices(1):
    yield


@contextlib.contextmanager
def devices(count: int):
  """Runs on so many devices."""
  make_mesh = sharding.make_mesh
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
        sharding, 'make_mesh', lambda: make_mesh(jax.devices()[:count]))
    yield
