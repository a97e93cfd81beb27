"""A search on digits with the tiny backbone, from its flags to its files."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from lst import config as config_lib
from lst import method, optimizer, placement, search, side
from lst.search import files, scoring, taps
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


@pytest.mark.parametrize('shortened', [scoring.probe_config, taps.warm_config])
def test_the_warm_up_is_the_same_part_of_a_shorter_run(shortened):
  config = config_lib.default()
  config.train.epochs, config.optimizer.warmup_epochs = 100.0, 10.0
  short = shortened(config)
  assert (short.train.epochs, short.optimizer.warmup_epochs) == (10.0, 1.0)
  # 1,000 images in batches of 64: 157 steps, of which 156 were warm-up.
  optimizer.build(short.optimizer, 157, 1000 / 64)
  assert config.optimizer.warmup_epochs == 10.0


@pytest.mark.parametrize('fields, words', [
    ({'selection': 'best'}, "config.search.selection='best' is none of gga"),
    ({'score': 'rank'}, "config.search.score='rank' is none of srank"),
    ({'what': 'heads'}, "config.search.what='heads' is none of edges, taps"),
    ({'count': 0}, 'config.search.count=0'),
    ({'probe_epochs': 0.0}, 'every gradient is zero'),
    ({'gamma': 1.0}, 'config.search.gamma=1.0'),
    ({'eta': 1.0}, 'config.search.eta=1.0'),
    ({'cost': -1.0}, 'config.search.cost=-1.0'),
    ({'least': 2.0}, 'config.search.least=2.0'),
    ({'rescore_steps': -1}, 'config.search.rescore_steps=-1'),
    ({'selection': 'given'}, 'takes config.placement.edges, which'),
    ({'train.epochs': 0.0}, 'config.train.epochs=0.0'),
    ({'placement.rank': -1}, 'config.placement.rank=-1'),
    ({'backbone.blocks': 'scan'}, "config.backbone.blocks='scan'.*'loop'"),
    ({'what': 'taps', 'selection': 'random'}, "selection='random' chooses ed"),
    ({'what': 'taps', 'cost': 1.0}, 'config.search.cost=1.0 is of edges'),
    ({'what': 'taps', 'rescore_steps': 4}, 'rescore_steps=4 is of edges'),
    ({'what': 'taps', 'side.name': 'linear'}, "'linear' reads one state"),
    ({'what': 'taps', 'side.name': 'attentive'}, "'attentive' reads one state"),
    ({'what': 'taps', 'side.name': 'last', 'count': 1}, 'needs two taps')],
    ids=str)
def test_what_cannot_be_is_refused_ahead_of_the_backbone(fields, words):
  config = config_of('/of/no/backbone')
  config.update_from_flattened_dict({
      name if '.' in name else f'search.{name}': value
      for name, value in fields.items()})
  with pytest.raises(ValueError, match=words):
    search.search(config)


def test_those_that_read_one_state_are_known():
  options = config_lib.default().side
  assert set(taps.ONE_STATE) == {
      name for name, made in side.SIDES.items()
      if made(options).stream() is None}


@pytest.mark.parametrize('changes, edges, words', [
    ({'batches': 10**9}, (), 'score fewer'),
    ({'selection': 'random', 'count': 50}, (), 'count=50: there are 49 edges'),
    ({'selection': 'given'}, ((0, 9),), 'config.placement.edges: .* outside')])
def test_what_a_backbone_cannot_have_is_refused_ahead_of_scoring(
    changes, edges, words, weights, monkeypatch):
  monkeypatch.setattr(scoring, 'trained', None)
  config = config_of(weights, **changes)
  config.placement.edges = edges
  with pytest.raises(ValueError, match=words):
    search.search(config)


@pytest.mark.parametrize('what, selection, words', [
    ('taps', 'gga', '2 taps where gga put them, by srank.'),
    ('edges', 'top', '2 adapters where top put them, by srank.'),
    ('edges', 'random', '2 adapters where random put them.')])
def test_a_config_says_how_it_was_found(what, selection, words):
  config = config_of('', what=what, selection=selection)
  config.side.skip = 1
  text = files.fragment(config, ((2, 0), (6, 2)), 'found.py')
  assert text.startswith(f'"""{words}\n')
  # Of taps it would leave out the first of those that were chosen.
  skip = 0 if what == 'taps' else 1
  assert f'config.side.skip = {skip}\n' in text


def test_a_gamma_that_leaves_no_score_is_refused():
  with pytest.raises(ValueError, match=r'gamma=1\.0 has to be'):
    placement.tap_map(np.ones((7, 3)), 2, gamma=1.0)


def test_tap_maps_end_with_the_last_state():
  scores = np.zeros((7, 3))
  scores[5, 0], scores[2, 1], scores[1, 0] = 3.0, 2.0, 2.5
  assert placement.tap_map(scores, 3) == ((5, 0), (2, 1), (6, 2))
  assert placement.tap_map(scores, 1) == ((6, 2),)
  scores[6, 2] = 9.0
  assert placement.tap_map(scores, 2, gamma=0.0) == ((5, 0), (6, 2))
  # One step nearer to what is taken already, (5, 0) falls behind.
  assert placement.tap_map(scores, 2) == ((1, 0), (6, 2))
