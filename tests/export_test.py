"""A side network as a file: what is saved comes back; damage is told."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax.core import FrozenDict

import lst
from lst import Features, LowRank, SideNetwork, config, export

CLASSES = ('cat', 'dog', 'é')
ABOUT = {'cls': True, 'prefix': 2, 'backbone': 'tiny', 'note': [1, 2]}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """(path, network, params, features) of a network with every kind of part."""
  side = config.default().side
  side.update({'rank': 2, 'pool': 'patches', 'use_bias': True})
  network = SideNetwork(
      LowRank(rank=2, use_bias=True), 3, pool='patches', prefix=2)
  keys = jax.random.split(jax.random.key(0), 4)
  features = Features(tuple(
      jax.random.normal(key, (2, 6, 8)) for key in keys[:3]))
  params = network.init(keys[3], features)['params']
  params = jax.tree.map(
      lambda x: jax.random.normal(keys[3], x.shape, x.dtype), params)
  path = tmp_path_factory.mktemp('export') / 'side.safetensors'
  export.save(path, params, CLASSES, {'side': dict(side), **ABOUT})
  return path, network, params, features


def test_what_is_saved_comes_back(saved):
  path, network, params, features = saved
  back = lst.load(path)
  assert back.network == network
  assert back.classes == CLASSES
  assert {k: back.about[k] for k in ABOUT} == ABOUT
  jax.tree.map(np.testing.assert_array_equal, back.params, params)
  assert jax.tree.map(jnp.shape, back.params) == jax.tree.map(jnp.shape, params)
  np.testing.assert_array_equal(
      back.network.apply({'params': back.params}, features),
      network.apply({'params': params}, features))
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_layout_and_dtype_come_back(tmp_path):
  params = FrozenDict({'head': {
      'kernel': np.arange(12, dtype=np.float32).reshape(3, 4).T,
      'half': np.full((), 0.5, np.float16)}})
  path = tmp_path / 'side.safetensors'
  about = {'side': dict(config.default().side), **ABOUT}
  export.save(path, params.unfreeze(), CLASSES, about)
  back = export.load(path).params['head']
  np.testing.assert_array_equal(back['kernel'], params['head']['kernel'])
  assert back['half'].shape == () and back['half'].dtype == np.float16


def test_missing_file_is_told(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'none\.safetensors: no such'):
    export.load(tmp_path / 'none.safetensors')


@pytest.mark.parametrize('keep', [0, 5, 60, -1])
def test_truncated_file_is_told(saved, tmp_path, keep):
  path = tmp_path / 'cut.safetensors'
  path.write_bytes(saved[0].read_bytes()[:keep])
  with pytest.raises(ValueError, match='is no whole safetensors file') as error:
    export.load(path)
  assert str(path) in str(error.value)


def test_a_folder_is_told(tmp_path):
  with pytest.raises(ValueError, match='is a folder'):
    export.load(tmp_path)


@pytest.mark.parametrize('metadata', [None, {'format': 'pt'}])
def test_foreign_file_is_told(tmp_path, metadata):
  path = tmp_path / 'foreign.safetensors'
  safetensors.numpy.save_file({'w': np.ones(2, np.float32)}, path, metadata)
  with pytest.raises(ValueError, match="not 'lst-side-1'"):
    export.load(path)


def _with(path, tmp_path, **metadata):
  content = path.read_bytes()
  size = int.from_bytes(content[:8], 'little')
  was = json.loads(content[8:8 + size])['__metadata__']
  out = tmp_path / 'changed.safetensors'
  safetensors.numpy.save_file(
      safetensors.numpy.load(content), out,
      {k: v for k, v in (was | metadata).items() if v is not None})
  return out


@pytest.mark.parametrize('metadata', [
    {'about': None}, {'about': '{}'}, {'classes': 'no json'},
    {'about': json.dumps({'side': {'rnak': 3}, **ABOUT})}])
def test_file_that_does_not_describe_itself_is_told(saved, tmp_path, metadata):
  path = _with(saved[0], tmp_path, **metadata)
  with pytest.raises(ValueError, match='does not say what network it holds'):
    export.load(path)
