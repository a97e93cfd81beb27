"""Tasks trained together end as each does alone, and survive what they do."""

import json

import jax
import numpy as np
import pytest

from lst import config as config_lib
from lst import export, losses, tasks, train
from lst.data import Batch
from lst.tasks import loop, mixed, parts
from lst.tasks.programs import Programs
from tests import runs
from tests.conftest import devices

# Ten digits with validation; two shapes without, in fewer steps; and one whose
# schedule is the longest.
TASKS = {
    'digits': dict(train='train[:60]', val='train[60:100]', test='test[:50]'),
    'few': dict(name='procedural', task='shape', train='train[:30]',
                test='test[:20]'),
    'last': dict(train='train[100:180]', val='test[50:80]', test='', seed=3),
}


def make_config(weights, cache='off', **optimizer):
  # A batch of 12 cannot have its share of each of eight classes: the first
  # gradient of a head would then be zero but for rounding, which Adam enlarges.
  config = runs.config(weights, epochs=3.2, batch_size=12)
  config.data = config_lib.data()
  config.cache.mode = cache
  # Quicker to compile: one mixer of each kind.
  config.side.skip = 1
  config.optimizer.update(dict(
      clip_norm=0.5, weight_decay=0.1, label_smoothing=0.1) | optimizer)
  for name, fields in TASKS.items():
    config.tasks[name] = config_lib.data()
    config.tasks[name].update(fields)
  return config


def assert_close(ours, theirs, atol=2e-5):
  for (path, a), b in zip(
      jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(
        a, b, rtol=1e-4, atol=atol, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope='module')
def whole(tmp_path_factory, weights):
  """(config, folder, result) of three tasks at once."""
  folder = tmp_path_factory.mktemp('tasks')
  config = make_config(weights)
  with devices(4):
    return config, folder, tasks.run(config, folder)


@pytest.mark.parametrize('name', TASKS)
def test_each_task_ends_as_it_does_alone(whole, tmp_path, name):
  config, folder, result = whole
  own = parts.alone(config, name)
  solo = train.run(own, tmp_path)
  again = json.loads((folder / name / 'result.json').read_text())
  assert again['config'] == solo['config']
  for key in ('steps', 'val_accuracy', 'test_accuracy', 'test_loss',
              'test_examples', 'tested_step', 'trainable_params'):
    if again[key] is None:
      assert solo[key] is None, key
    else:
      assert again[key] == pytest.approx(solo[key], rel=1e-4), key
  ours, theirs = (
      export.load(f / 'side.safetensors') for f in (folder / name, tmp_path))
  assert ours.classes == theirs.classes
  assert_close(ours.params, theirs.params)
  assert (folder / name / 'config.json').read_text() == (
      tmp_path / 'config.json').read_text()
  ours, theirs = (
      [x for x in runs.lines(f) if 'val_accuracy' in x]
      for f in (folder / name, tmp_path))
  assert len(ours) == len(theirs)
  assert_close(ours, theirs, atol=1e-4)
  assert result['tasks'][name]['test_accuracy'] == again['test_accuracy']


def test_the_tasks_differ(whole):
  _, _, result = whole
  rows = result['tasks']
  assert {name: row['steps'] for name, row in rows.items()} == {
      'digits': 16, 'few': 8, 'last': 22}
  assert len({row['classes'] for row in rows.values()}) == 2
  assert result['mean_test_accuracy'] == pytest.approx(
      (rows['digits']['test_accuracy'] + rows['few']['test_accuracy']) / 2)


def test_a_finished_run_is_an_ordinary_one(whole, capsys):
  config, folder, result = whole
  assert tasks.run(config, folder) == result
  assert 'digits' in capsys.readouterr().out
  own = parts.alone(config, 'few')
  done = train.run(own, folder / 'few')
  assert done['steps'] == 8 and done['trained_with'] == sorted(TASKS)


class StoppedError(Exception):
  """In place of a kill."""


def test_a_stopped_run_goes_on(whole, weights, tmp_path, monkeypatch):
  _, folder, result = whole
  stop = loop._Tasks._stop

  def stopping(self, now, *args):
    stop(self, now, *args)
    if now >= 9:
      raise StoppedError

  monkeypatch.setattr(loop._Tasks, '_stop', stopping)
  with devices(4):
    with pytest.raises(StoppedError):
      tasks.run(make_config(weights), tmp_path)
    monkeypatch.undo()
    again = tasks.run(make_config(weights), tmp_path)
  assert again['tasks'] == result['tasks']
  for name in TASKS:
    assert runs.lines(tmp_path / name) == runs.lines(folder / name), name
    ours, theirs = (
        export.load(f / name / 'side.safetensors') for f in (tmp_path, folder))
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


def test_cached_and_images_together(
    whole, weights, tmp_path, monkeypatch):
  _, folder, _ = whole
  open_ = parts.inputs.open_

  def without(own, built):
    own = parts.points.copy(own)
    own.cache.mode = 'off' if own.data.seed == 3 else 'ram'
    return open_(own, built)

  monkeypatch.setattr(parts.inputs, 'open_', without)
  config = make_config(weights)
  with config.unlocked():
    del config.tasks.few
  tasks.run(config, tmp_path)
  for name in config.tasks:
    ours, theirs = (
        export.load(f / name / 'side.safetensors') for f in (tmp_path, folder))
    assert_close(ours.params, theirs.params)


@pytest.mark.as_users
def test_bf16_and_padding_stays_zero(weights):
  config = make_config(weights)
  config.backbone.dtype = 'bfloat16'
  made = parts.make(config)
  runs_, programs = parts.start(made), Programs(config, made)
  rng, members = np.random.default_rng(0), (0, 1, 2)
  for _ in range(10):
    batches = {
        k: Batch(rng.integers(0, 256, (12, 16, 16, 3), np.uint8),
                 rng.integers(0, 2, 12, np.int32), np.ones(12, np.float32))
        for k in members}
    given, before = runs_, jax.device_get(runs_.params)
    runs_, sums = programs.step(
        members, runs_, programs.put(members, batches))
    # Not the parameters, which `before` looks at.
    assert all(x.is_deleted() for x in jax.tree.leaves(given.opt_state))
  few = programs.order(members).index(1)
  kernel = jax.device_get(runs_.params)['head']['kernel']
  classes = len(made[1].built.dataset.classes)
  assert kernel[1, :, :classes].any() and not kernel[1, :, classes:].any()
  # Its eight steps are over.
  assert sums.count[few] == 0 and np.all(np.delete(sums.count, few) == 12)
  moved = jax.tree.map(
      lambda a, b: [bool((x != y).any()) for x, y in zip(a, b, strict=True)],
      before, jax.device_get(runs_.params))
  for path, seen in jax.tree.leaves_with_path(
      moved, is_leaf=lambda x: isinstance(x, list)):
    assert seen == [True, False, True], path


def test_mixed_rows_come_apart_again():
  rng = np.random.default_rng(0)
  batches = [Batch(rng.integers(0, 9, (8, 3)), np.arange(8) + 8 * k,
                   np.ones(8)) for k in range(3)]
  for shards in (1, 2, 4):
    whole = mixed.mix(batches, shards)
    assert len(whole.label) == 24
    # Each device has its own rows of every task.
    own = whole.label[:24 // shards]
    assert sorted(own % 8) == sorted(3 * list(range(8 // shards)))
    back = mixed.blocks(whole, 3, shards)
    for k, batch in enumerate(batches):
      jax.tree.map(np.testing.assert_array_equal,
                   jax.tree.map(lambda x, k=k: x[k], back), batch)


@pytest.mark.parametrize('smoothing', [0.0, 0.3])
def test_padded_classes_change_no_loss(smoothing):
  rng = np.random.default_rng(0)
  logits, label = rng.normal(size=(6, 3)).astype('f'), np.arange(6) % 3
  there = np.arange(5) < 3
  wide = np.pad(logits, [(0, 0), (0, 2)], constant_values=99.0)

  def loss(x):
    return losses.padded_cross_entropy(
        mixed.only(there, x), label, there, smoothing).sum()

  def solo(x):
    return losses.cross_entropy(x, label, smoothing).sum()

  label = jax.numpy.asarray(label)
  there, wide = jax.numpy.asarray(there), jax.numpy.asarray(wide)
  (a, da), (b, db) = (
      jax.value_and_grad(f)(x) for f, x in (
          (loss, wide), (solo, jax.numpy.asarray(logits))))
  np.testing.assert_allclose(a, b, rtol=1e-6)
  np.testing.assert_allclose(da[:, :3], db, atol=1e-6)
  assert not da[:, 3:].any()
  assert mixed.only(there, wide).argmax(-1).max() < 3


def test_stages_halve():
  assert parts.stages([7]) == {7: (0,)}
  assert parts.stages([5, 5]) == {5: (0, 1)}
  assert parts.stages([1, 2, 3, 4]) == {2: (0, 1, 2, 3), 3: (2, 3), 4: (3,)}


def test_what_cannot_be_together_is_told(weights):
  config = make_config(weights)
  config.sweep.lr = (1e-3, 1e-2)
  with pytest.raises(ValueError, match=r'config\.tasks and config\.sweep'):
    parts.make(config)
  config = make_config(weights)
  config.train.microbatch = 4
  with pytest.raises(ValueError, match='microbatch=4 is not there'):
    parts.make(config)
  config = make_config(weights)
  config.data.train = 'train[:5]'
  with pytest.raises(ValueError, match=r'set config\.tasks\.<name>\.train'):
    parts.make(config)
