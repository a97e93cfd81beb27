"""Programs that several of these tests run are compiled once."""

import contextlib

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from lst import sharding


@pytest.fixture(scope='package', autouse=True)
def compiled_once(tmp_path_factory):
  names = ('jax_compilation_cache_dir',
           'jax_persistent_cache_min_compile_time_secs',
           'jax_disable_most_optimizations')
  was = tuple(jax.config.values[name] for name in names)
  # These programs run for a moment: what compiles them faster is faster.
  now = str(tmp_path_factory.mktemp('compiled')), 0.1, True
  for values in (now, was):
    for name, value in zip(names, values, strict=True):
      jax.config.update(name, value)
    compilation_cache.reset_cache()
    if values is now:
      yield


@pytest.fixture
def optimised():
  """As users have it: not every bf16 product that XLA is given can be run."""
  jax.config.update('jax_disable_most_optimizations', False)
  yield
  jax.config.update('jax_disable_most_optimizations', True)


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
    patch.setattr(sharding, 'make_mesh', lambda *_: make_mesh(
        devices=jax.devices()[:count]))
    yield
