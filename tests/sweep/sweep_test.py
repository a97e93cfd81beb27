"""A sweep gives what its runs give alone, and survives what they survive."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import build, export, report, sharding, sweep, train
from lst.sweep import cuts, halving, loop, parts, points, stacked
from tests import runs, tiny

# A batch is to be split, it does not matter how often.
pytestmark = pytest.mark.devices(2)

STEPS = 6


def make_config(weights, **fields):
  config = runs.config(weights)
  # Whether a cache pays here is a matter of the moment.
  config.cache.mode = 'off'
  config.sweep.update(fields)
  return config


@pytest.fixture(scope='module')
def mixed(weights):
  """Four runs that differ in all that a sweep varies."""
  config = make_config(
      weights, lr=(1e-3, 1e-2), rank=(2, 4), skip=(0, 1))
  config.optimizer.clip_norm = 0.5
  made = parts.make(config)
  # Half of the eight, in which any two values meet. Alpha and the seed are of
  # the initial parameters.
  made = made._replace(points=[
      _with(made.points[at], alpha=1.0 + k % 3, seed=k % 2,
            decay=0.1 * (k % 3 == 1))
      for k, at in enumerate((0, 3, 5, 6))])
  return config, made


def _with(point, alpha, seed, decay):
  point.side.alpha, point.seed = alpha, seed
  point.optimizer.weight_decay = decay
  return point


def batches(made):
  return [
      made.batches_of.ready(
          sharding.put_batch(tiny.batch(seed, 16), made.built.mesh))
      for seed in range(STEPS)]


def trained(config, made, chunk=0):
  config.sweep.chunk = chunk
  began = state = parts.start(made)
  programs = parts.Programs(config, made, state)
  for batch in batches(made):
    state, sums = programs.step(state, batch)
  assert all(x.is_deleted() for x in jax.tree.leaves(began))
  return state, sums


def assert_close(ours, theirs, atol=1e-5):
  for (path, a), b in zip(
      jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(
        a, b, rtol=1e-4, atol=atol, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope='module')
def at_once(mixed):
  """State and sums of all of them, trained at once."""
  return trained(*mixed)


def test_each_run_ends_as_it_does_alone(mixed, at_once):
  _, made = mixed
  state, sums = at_once
  ends = []
  for k, point in enumerate(made.points):
    built = build.rebuilt(made.built, point)
    alone = built.state
    for batch in batches(made):
      alone, alone_sums = built.train_step(alone, built.frozen, batch)
    ours = stacked.cut(state.params, k, alone.params)
    assert_close(ours, jax.device_get(alone.params))
    assert_close(jax.tree.map(lambda x, k=k: x[k], sums), alone_sums)
    ends.append(ours)
  # And the runs do differ.
  kernels = {x['head']['kernel'].tobytes() for x in ends}
  assert len(kernels) == len(ends)


def test_what_is_padded_stays_zero(mixed, at_once):
  _, made = mixed
  state, _ = at_once
  narrow = [k for k, p in enumerate(made.points) if p.side.rank == 2]
  short = [k for k, p in enumerate(made.points) if p.side.skip == 1]
  side = jax.device_get(state.params)['side']
  for name, x in side.items():
    if x.ndim == 3:
      assert not x[narrow, 2:].any(), name
      assert x[:, :2].any(), name
    if '_0_' in name:
      assert not x[short].any(), name


@pytest.mark.parametrize('chunk', [1, 3])
def test_chunks_change_nothing(mixed, at_once, chunk):
  config, made = mixed
  assert_close(trained(config, made, chunk)[0].params, at_once[0].params)


@pytest.mark.parametrize('chunk', [0, 3])
def test_flops_of_a_step_are_those_of_all_runs(mixed, chunk):
  """Each has the shapes of the largest, and one pass serves all of them."""
  config, made = mixed
  config.sweep.chunk = chunk
  state = parts.start(made)
  largest = build.rebuilt(made.built, made.points[-1])
  alone, forward = report.step_flops(config, largest, made.batches_of)
  # Images come as they are, so each step alone makes its own features.
  own = alone / forward - made.batches_of.online
  wanted = len(made.points) * own + made.batches_of.online
  found = parts.Programs(config, made, state).over_forward(state)
  assert found == pytest.approx(wanted, rel=1e-9) and own > 0.01


def test_parts_of_a_batch_change_nothing(mixed, at_once, monkeypatch):
  config, made = mixed
  monkeypatch.setattr(cuts, 'CACHE', 1)
  rows = config.train.batch_size // made.built.mesh.size
  assert parts.Programs(config, made, parts.start(made)).cuts == rows > 1
  assert_close(trained(config, made)[0].params, at_once[0].params)


def test_more_runs_take_fewer_rows_at_a_time(mixed):
  _, made = mixed
  built = made.built
  one = tuple(
      jax.ShapeDtypeStruct((1, *x.shape), x.dtype)
      for x in made.batches_of.shapes)
  given = built.predict, built.state.params, built.frozen, one
  row = cuts.row_bytes(*given)
  assert row > 0
  fits = cuts.CACHE // row
  assert cuts.parts(*given, 64, max(fits // 64, 1)) == 1
  assert cuts.parts(*given, 64, fits // 8) >= 8
  assert cuts.parts(*given, 64, 2 * fits) == 64


def test_too_little_memory_makes_chunks(mixed, monkeypatch):
  config, made = mixed
  config.sweep.chunk = 0
  state = parts.start(made)
  whole = parts.Programs(config, made, state)
  assert whole.chunk == 0
  needs = whole._of(state).memory_analysis().temp_size_in_bytes
  monkeypatch.setattr(parts, '_free', lambda: 0.6 * needs / parts.SHARE)
  assert 1 <= parts.Programs(config, made, state).chunk < len(made.points)
  monkeypatch.setattr(parts, '_free', lambda: 1)
  with pytest.raises(ValueError, match='batch_size'):
    parts.Programs(config, made, state)


def test_stack_and_cut():
  trees = [{'a': np.ones((2, 3)), 'b': {'c': np.float32(2.0)}},
           {'a': np.full((1, 3), 5.0)}]
  both = stacked.stack(trees)
  assert both['a'].shape == (2, 2, 3) and both['b']['c'].tolist() == [2.0, 0.0]
  assert both['a'][1].tolist() == [[5.0] * 3, [0.0] * 3]
  for k, tree in enumerate(trees):
    back = stacked.cut(both, k, tree)
    jax.tree.map(np.testing.assert_array_equal, back, tree)


def test_the_best_parameters_are_kept():
  state = stacked.Runs(
      np.arange(2), None, {'x': jnp.array([1.0, 1.0])}, None,
      {'x': jnp.array([0.0, 0.0])}, np.float32([0.5, 0.6]),
      np.array([1, 1], np.int32))
  state = stacked.record(state, np.float32([0.5, 0.4]), 7)
  # Of equals the later one, as an ordinary run has it.
  assert state.best_params['x'].tolist() == [1.0, 0.0]
  assert state.best_step.tolist() == [7, 1]
  np.testing.assert_allclose(state.best_accuracy, [0.5, 0.6])
  # What diverged is no best, though there was none before.
  state = state._replace(
      params={'x': jnp.full(2, jnp.nan)}, best_accuracy=np.float32([-1, 0.6]))
  state = stacked.record(state, np.float32([-1, -1]), 8)
  assert state.best_params['x'].tolist() == [1.0, 0.0]
  assert state.best_step.tolist() == [7, 1]


def test_a_sweep_that_diverged_as_a_whole_says_so(weights, tmp_path):
  config = make_config(weights, lr=(1e36, 1e37))
  config.train.epochs = 1.0
  with pytest.raises(train.NonFiniteError, match=r'lower config\.sweep\.lr'):
    sweep.run(config, tmp_path)
  assert not (tmp_path / 'best').exists()


def test_of_videos_the_tapped_blocks_do_not_vary(weights, tmp_path):
  config = make_config(weights, skip=(0, 1))
  for k in range(8):
    path = tmp_path / f'{k % 2}' / f'{k}.mp4'
    path.parent.mkdir(exist_ok=True)
    path.touch()
  config.data.update(dict(
      name='video_folder', path=str(tmp_path), train='all[:4]', val='all[4:]',
      test=''))
  with pytest.raises(ValueError, match=r'config\.sweep\.skip: of videos'):
    parts.make(config)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, weights):
  folder = tmp_path_factory.mktemp('sweep')
  config = make_config(weights, lr=(1e-3, 3e-2, 1e30), rank=(2, 4))
  return config, folder, sweep.run(config, folder)


def test_the_table_has_every_run_best_first(whole):
  _, folder, result = whole
  with (folder / 'sweep.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == len(result['sweep']) == 6
  accuracies = [r['val_accuracy'] or 0.0 for r in result['sweep']]
  assert accuracies == sorted(accuracies, reverse=True)
  assert result['val_accuracy'] == accuracies[0] > 0
  assert (folder / 'sweep.png').read_bytes().startswith(b'\x89PNG')
  # The runs of an impossible rate ended alone.
  lost = [r for r in result['sweep'] if r['lr'] == 1e30]
  assert [r['val_accuracy'] for r in lost] == [None, None]
  lines = runs.lines(folder)
  assert lines[-1]['train_loss/lr=1e+30 rank=2'] is None
  assert lines[-1]['train_loss/lr=0.03 rank=2'] > 0


def test_the_winner_is_an_ordinary_run(whole, tmp_path):
  config, folder, result = whole
  point = next(
      p for p in points.points(config)
      if (p.optimizer.lr, p.side.rank) == (
          result['sweep'][0]['lr'], result['sweep'][0]['rank']))
  alone = train.run(point, tmp_path)
  again = json.loads((folder / 'best' / 'result.json').read_text())
  assert again['config'] == alone['config']
  for key in ('val_accuracy', 'tested_step', 'trainable_params',
              'test_accuracy'):
    assert again[key] == pytest.approx(alone[key]), key
  ours, theirs = (
      export.load(f / 'side.safetensors') for f in (folder / 'best', tmp_path))
  assert_close(ours.params, theirs.params, atol=1e-4)
  last = runs.lines(folder / 'best')[-1]
  assert last['val_accuracy'] == pytest.approx(
      runs.lines(tmp_path)[-1]['val_accuracy'])


class StoppedError(Exception):
  """In place of a kill."""


def test_a_stopped_sweep_goes_on(weights, tmp_path, monkeypatch):
  """Stopped when half of its runs have ended, ahead of the next that do."""
  config = make_config(weights, lr=(1e-3, 1e-2), rank=(2, 4), halving=2)
  expected = sweep.run(config, tmp_path / 'whole')
  stop = loop._Sweep._stop

  def stopping(self, now, sums):
    stop(self, now, sums)
    if now >= 11:
      raise StoppedError

  monkeypatch.setattr(loop._Sweep, '_stop', stopping)
  with pytest.raises(StoppedError):
    sweep.run(config, tmp_path / 'stopped')
  monkeypatch.undo()
  result = sweep.run(config, tmp_path / 'stopped')
  assert result['sweep'] == expected['sweep']
  for name in ('metrics.jsonl', 'best/metrics.jsonl', 'sweep.csv'):
    assert (tmp_path / 'stopped' / name).read_text() == (
        tmp_path / 'whole' / name).read_text(), name
  # 24 steps, with rungs at the first that validate from 6 and 12 on.
  lasts = sorted(r['last_step'] for r in result['sweep'])
  assert lasts == [8, 8, 12, 24]


def test_a_sweep_saves_and_traces_where_it_is_asked_to(
    weights, tmp_path, monkeypatch):
  """Ahead of its only validation."""
  config = make_config(weights, lr=(1e-3, 1e-2))
  config.train.eval_epochs = config.train.epochs
  config.train.checkpoint_steps, config.profile.steps = 5, (2, 3)
  expected = sweep.run(config, tmp_path / 'whole')
  assert list((tmp_path / 'whole' / 'profile').rglob('*.xplane.pb'))
  step, left = parts.Programs.step, [13]

  def stopping(self, *args):
    left[0] -= 1
    if not left[0]:
      raise StoppedError
    return step(self, *args)

  monkeypatch.setattr(parts.Programs, 'step', stopping)
  with pytest.raises(StoppedError):
    sweep.run(config, tmp_path / 'stopped')
  assert (tmp_path / 'stopped/checkpoints/10').exists()
  left[0] = 100
  result = sweep.run(config, tmp_path / 'stopped')
  # 24 steps, of which ten are not taken again.
  assert left[0] == 100 - 14 and result['sweep'] == expected['sweep']


def test_halving_keeps_the_best_in_order():
  assert halving.best([0.1, 0.9, 0.5, 0.9], 2).tolist() == [1, 3]
  assert halving.best([0.5, 0.5, 0.1], 1).tolist() == [0]
  assert halving.rungs(4, 0, 100, [100]) == {}
  assert halving.rungs(24, 2, 160, range(1, 161)) == {
      5: 12, 10: 6, 20: 3, 40: 2, 80: 1}
  with pytest.raises(ValueError, match='halving'):
    halving.rungs(4, 1, 100, [100])


def test_bad_sweeps_are_told(weights):
  config = make_config(weights, lr=(1e-3, 1e-2))
  config.data.val = ''
  with pytest.raises(ValueError, match='validation'):
    parts.make(config)
  with pytest.raises(ValueError, match='twice'):
    parts.make(make_config(weights, lr=(1e-3, 1e-3)))
  for field, value, words in (
      ('rank', 0, 'whole numbers from 1'), ('rank', 4.5, 'whole numbers'),
      ('lr', -1e-3, 'above 0'), ('lr', '1e-3', 'above 0'),
      ('weight_decay', -0.1, 'from 0 on'), ('seed', 0.5, 'whole numbers'),
      ('alpha', 'one', 'numbers'), ('skip', -1, 'from 0 on')):
    with pytest.raises(ValueError, match=rf'config\.sweep\.{field}=.*{words}'):
      parts.make(make_config(weights, **{field: (value,)}))
