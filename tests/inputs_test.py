"""Features from a cache give a run the same bits as the backbone does."""

import pathlib

import numpy as np
import pytest

from lst import build, cache, evaluate, inputs, sharding, train
from tests import runs

FILES = ('metrics.jsonl', 'side.safetensors')


def config_of(weights, mode, root='', side='losa', **data):
  config = runs.config(weights, epochs=3.0, checkpoint_steps=0)
  config.cache.mode, config.cache.path = mode, str(root)
  config.side.name = side
  config.data.update(data)
  return config


def ends(config, folder: pathlib.Path):
  """What a run leaves but its own config: lines, tensors, test loss."""
  from lst import export
  result = train.run(config, folder)
  params = export.load(folder / 'side.safetensors').params
  return (folder / 'metrics.jsonl').read_text(), params, result['test_loss']


def assert_same(ours, theirs):
  import jax
  assert ours[0] == theirs[0]
  assert ours[2] == theirs[2]
  jax.tree.map(np.testing.assert_array_equal, ours[1], theirs[1])


@pytest.fixture(scope='module')
def plain(weights, tmp_path_factory):
  """What LoSA's run on whole images leaves, without a cache."""
  return ends(config_of(weights, 'off'), tmp_path_factory.mktemp('plain'))


@pytest.mark.as_users
@pytest.mark.parametrize('side, modes, data', [
    ('losa', ('ram', 'disk', 'disk'), {'augment': 'crop', 'views': 3}),
    ('linear', ('disk',), {'augment': 'crop', 'views': 3}),
    ('losa', ('ram',), {})], ids=['losa', 'linear', 'plain'])
def test_a_cached_run_is_the_online_run_bit_for_bit(
    weights, tmp_path, plain, side, modes, data):
  """The second run of a disk cache reads what the first has written."""
  online = plain if not data else ends(
      config_of(weights, 'off', side=side, **data), tmp_path / 'online')
  for number, mode in enumerate(modes):
    config = config_of(weights, mode, tmp_path / 'cache', side, **data)
    assert_same(ends(config, tmp_path / str(number)), online)
  if data and side == 'losa':
    # Other pixels give another run: the files do tell.
    assert online[0] != plain[0]


@pytest.mark.as_users
@pytest.mark.parametrize('form', ['int8', 'projected'])
def test_small_forms_come_near(weights, tmp_path, plain, form):
  online, config = plain, config_of(weights, 'ram')
  config.cache.form, config.cache.rank = form, 12
  small = ends(config, tmp_path / form)
  assert small[0] != online[0]
  assert small[2] == pytest.approx(online[2], rel=0.1)


def inputs_of(pass_):
  return next(pass_.batches()).inputs


def opened(config):
  return inputs.open_(config, build.build(config))


def test_each_split_is_read_from_where_it_pays(weights, tmp_path):
  _, batches_of = opened(config_of(weights, 'ram'))
  assert not batches_of.online
  assert [x.shape for x in batches_of.shapes] == [(18, 24)] * 3
  # A test is read once: it is not kept in memory for that.
  assert inputs_of(batches_of.test).dtype == np.uint8
  assert isinstance(inputs_of(batches_of.val), tuple)
  _, batches_of = opened(config_of(weights, 'disk', tmp_path))
  assert isinstance(inputs_of(batches_of.test), tuple)
  assert len(list(tmp_path.glob('*/about.json'))) == 3


@pytest.mark.as_users
@pytest.mark.parametrize('form', ['int8', 'projected'])
def test_what_is_evaluated_has_one_form_wherever_it_is_kept(
    weights, tmp_path, form):
  """A test that nobody keeps is made into what a cache on disk holds of it."""
  found = {}
  for mode in ('ram', 'disk'):
    config = config_of(weights, mode, tmp_path)
    config.cache.form, config.cache.rank = form, 12
    built, batches_of = opened(config)
    test = batches_of.test
    assert (inputs_of(test).dtype == np.uint8 if mode == 'ram'
            else isinstance(inputs_of(test), tuple))
    placed = test.ready(sharding.put_batch(next(test.batches()), built.mesh))
    found[mode] = placed.inputs, evaluate.evaluate(built.state.params, test)
  for kept, made in zip(found['disk'][0], found['ram'][0], strict=True):
    assert kept.dtype == made.dtype
    assert np.mean(np.asarray(kept) != np.asarray(made)) < 0.01
  assert found['ram'][1].means() == pytest.approx(
      found['disk'][1].means(), rel=1e-3)


def test_a_probe_keeps_one_row_an_image(weights):
  _, batches_of = opened(config_of(weights, 'ram', side='linear'))
  assert [x.shape for x in batches_of.shapes] == [(1, 24)]


def test_what_does_not_fit_is_told_or_not_kept(weights, monkeypatch):
  monkeypatch.setattr(cache.estimate, 'free', lambda root: cache.Free(10, 10))
  _, batches_of = opened(config_of(weights, 'auto'))
  assert batches_of.online
  with pytest.raises(cache.CacheError, match='form'):
    opened(config_of(weights, 'ram'))
