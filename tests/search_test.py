"""A search on digits with the tiny backbone, from its flags to its files."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from lst import config as config_lib
from lst import method, placement, search
from tests import tiny


def config_of(weights, **changes):
  out = tiny.config(weights)
  out.data.train, out.data.val, out.data.test = (
      'train[:48]', 'train[48:64]', 'test[:16]')
  out.search.update(dict(
      count=3, batches=2, batch_size=8, probe_epochs=3.0) | changes)
  return out


def read(folder):
  spec = importlib.util.spec_from_file_location('found', folder / 'found.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


@pytest.fixture(scope='module', params=['edges', 'taps'])
def found(request, weights, tmp_path_factory):
  folder = tmp_path_factory.mktemp(request.param)
  config = config_of(weights, what=request.param)
  return config, search.run(config, folder), folder


def test_its_files_hold_what_was_found(found):
  config, result, folder = found
  names = {path.name for path in folder.iterdir()}
  assert names == {
      'edges.json', 'scores.csv', 'scores.png', 'spectra.npy', 'found.py'}
  about = json.loads((folder / 'edges.json').read_text())
  assert [tuple(e) for e in about['edges']] == list(result.edges)
  assert about['examples'] == 16 and about['config']['search.count'] == 3
  values = np.load(folder / 'spectra.npy', allow_pickle=False)
  np.testing.assert_array_equal(
      placement.scored(values, config.search.score), result.scores)
  lines = (folder / 'scores.csv').read_text().splitlines()
  assert len(lines) == 1 + result.scores.size
  assert (folder / 'scores.png').read_bytes()[1:4] == b'PNG'


def test_the_config_that_it_writes_trains_what_was_found(found):
  config, result, folder = found
  ours = read(folder)
  config_lib.check(ours)
  same = {
      k: v for k, v in config_lib.flat(config).items()
      if not k.startswith('search.') and k not in (
          'method', 'placement.edges', 'side.taps')}
  there = config_lib.flat(ours)
  assert {k: there[k] for k in same} == same
  if config.search.what == 'edges':
    assert ours.method == 'placed'
    assert ours.placement.edges == tuple(map(tuple, result.edges))
    assert result.scores.shape == (7, 7) and len(result.edges) == 3
    # The probe learned something, or no gradient would have a rank.
    assert result.scores.max() > 3
  else:
    assert ours.method == 'side' and result.costs is None
    assert ours.side.taps == tuple(state for state, _ in result.edges)
    assert ours.side.taps[-1] == 6 and len(ours.side.taps) <= 3
    assert result.scores.shape == (7, 3)


def test_a_side_network_reads_the_states_it_is_given(backbone, weights, batch):
  config = tiny.config(weights)
  config.side.taps, config.side.residual = (6, 1, 1, 6), 'running'
  ours = method.build(config, backbone, tiny.CLASSES)
  images = jax.numpy.asarray(batch.inputs)
  states = {}
  backbone.apply(backbone.frozen, images, lambda k, x: states.setdefault(k, x))
  prepared = ours.extract(backbone.frozen, images)
  for tap, state in zip(prepared.taps, config.side.taps, strict=True):
    np.testing.assert_allclose(
        tap, states[state] + states[6], rtol=1e-5, atol=1e-5)
  params = jax.eval_shape(
      ours.init, jax.random.key(0), backbone.frozen, images)
  assert {k for k in params['side'] if k.endswith('down')} == {
      'channel_0_down', 'token_1_down', 'channel_2_down', 'token_3_down'}


@pytest.mark.parametrize('taps, words', [
    ((2, 7, 6), 'has 7, no state'), ((1, 2), 'has to end with 6')])
def test_taps_that_cannot_be_are_refused(taps, words, backbone, weights):
  config = tiny.config(weights)
  config.side.taps = taps
  with pytest.raises(ValueError, match=words):
    method.build(config, backbone, tiny.CLASSES)


def test_scores_are_taken_anew_beside_what_was_trained(weights):
  found = search.search(config_of(weights, rescore_steps=4, count=2))
  best = np.unravel_index(found.scores.argmax(), found.scores.shape)
  assert found.edges[0] == best and len(set(found.edges)) == 2


@pytest.mark.parametrize('changes, words', [
    ({'selection': 'best'}, "config.search.selection='best' is none of gga"),
    ({'score': 'rank'}, "config.search.score='rank' is none of srank"),
    ({'what': 'heads'}, "config.search.what='heads' is none of edges, taps"),
    ({'count': 0}, r'config.search.count=0'),
    ({'probe_epochs': 0.0}, 'every gradient is zero'),
    ({'batches': 10**9}, 'score fewer')])
def test_what_cannot_be_is_refused(changes, words, weights):
  with pytest.raises(ValueError, match=words):
    search.search(config_of(weights, **changes))


def test_tap_maps_end_with_the_last_state():
  scores = np.zeros((7, 3))
  scores[5, 0], scores[2, 1], scores[1, 0] = 3.0, 2.0, 2.5
  assert placement.tap_map(scores, 3) == ((5, 0), (2, 1), (6, 2))
  assert placement.tap_map(scores, 1) == ((6, 2),)
  scores[6, 2] = 9.0
  assert placement.tap_map(scores, 2, gamma=0.0) == ((5, 0), (6, 2))
  # One step nearer to what is taken already, (5, 0) falls behind.
  assert placement.tap_map(scores, 2) == ((1, 0), (6, 2))
