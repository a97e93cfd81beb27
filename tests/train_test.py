"""Runs end to end: what they leave, what they test, how they stop."""

import json
import math
import re
import struct
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

import lst
from lst import checkpoint, config, data, evaluate, metrics, train, workdir
from lst.backbones import backbone as backbones
from tests import runs, tiny

# Validation comes after these steps; the accuracies are scripted, so that the
# best is neither the first nor the last.
SCRIPT = {4: 0.25, 8: 0.75, 12: 0.5}


class Run(NamedTuple):
  """A finished run, and the parameters at each of its validations."""

  config: object
  folder: object
  result: dict
  validated: list


@pytest.fixture(scope='module')
def run(tmp_path_factory, weights):
  folder = tmp_path_factory.mktemp('run') / 'new' / 'folder'
  cfg = runs.config(weights, epochs=3.0, checkpoint_steps=0)
  accuracies, validated = [*SCRIPT.values(), SCRIPT[8]], []

  def scripted(params, of):
    sums = real(params, of)
    if sums.count != 40:  # Of the test, not of the 40 of validation.
      return sums
    validated.append(jax.device_get(params))
    accuracy = accuracies[len(validated) - 1]
    return sums._replace(correct=accuracy * sums.count)

  real = evaluate.evaluate
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(evaluate, 'evaluate', scripted)
    result = train.run(cfg, folder)
  return Run(cfg, folder, result, validated)


def test_result_has_its_flat_keys(run):
  result = json.loads((run.folder / 'result.json').read_text())
  assert result == run.result
  for key in (
      'seconds', 'images_per_second', 'peak_memory_bytes',
      'flops_step_over_forward', 'test_loss'):
    assert result[key] > 0, key
  assert result['test_examples'] == 50
  correct = result['test_accuracy'] * 50
  assert abs(correct - round(correct)) < 1e-9
  assert result['trainable_params'] == sum(
      x.size for x in jax.tree.leaves(run.validated[0]))
  assert result['versions']['jax'] == jax.__version__
  flat = json.loads(json.dumps(config.flat(run.config)))
  assert result['config'] == flat
  assert workdir.CONFIG in {p.name for p in run.folder.iterdir()}


def test_the_best_checkpoint_is_the_one_that_is_tested(run):
  assert run.result['tested_step'] == 8
  assert run.result['val_accuracy'] == SCRIPT[8]
  # Once each, and the best again after it was restored.
  first, best, last, again = run.validated
  saved = lst.load(run.folder / 'side.safetensors').params
  jax.tree.map(np.testing.assert_array_equal, again, best)
  jax.tree.map(np.testing.assert_array_equal, saved, best)
  for other in (first, last):
    assert any(
        (a != b).any() for a, b in zip(
            jax.tree.leaves(other), jax.tree.leaves(best), strict=True))
  names = {p.name for p in (run.folder / 'checkpoints').iterdir()}
  assert names == {'8', '12'}


def test_side_file_gives_the_tested_predictions_on_features(run):
  network, params, classes, about = lst.load(run.folder / 'side.safetensors')
  backbone = backbones.build(run.config.backbone)
  assert about['backbone'] == backbone.name and len(classes) == 10
  assert tuple(about['image_size']) == backbone.image_size
  total = metrics.Sums()
  for batch in data.eval_batches(
      data.build(run.config.data).test, batch_size=25,
      image_size=backbone.image_size):
    features = backbones.extractor(backbone)(
        backbone.frozen, jnp.asarray(batch.inputs))
    logits = network.apply({'params': params}, features)
    hits = (np.argmax(logits, -1) == batch.label).sum()
    total += metrics.Sums(0.0, float(hits), len(logits))
  assert total.means()['accuracy'] == run.result['test_accuracy']


def test_metrics_hold_every_step_once_and_the_validations(run):
  lines = runs.lines(run.folder)
  trained = [line['step'] for line in lines if 'train_loss' in line]
  assert trained == [3, 4, 6, 8, 9, 12]
  shown = {line['step']: line['val_accuracy'] for line in lines
           if 'val_accuracy' in line}
  assert shown == SCRIPT
  assert lines[0]['epoch'] == 3 * 16 / 60
  assert all(0 < line['train_loss'] < 10 for line in lines
             if 'train_loss' in line)


def test_tensorboard_events_hold_the_same_numbers(run):
  [path] = (run.folder / 'tensorboard').iterdir()
  content, at, seen, speed = path.read_bytes(), 0, {}, set()
  while at < len(content):
    [size] = struct.unpack('<Q', content[at:at + 8])
    event = event_pb2.Event.FromString(content[at + 12:at + 12 + size])
    for value in event.summary.value:
      # How fast it went is nowhere else.
      if value.tag.startswith('speed/'):
        speed.add(value.tag.removeprefix('speed/'))
      else:
        seen[event.step, value.tag] = value.simple_value
    at += size + 16
  want = {(line['step'], name): value for line in runs.lines(run.folder)
          for name, value in line.items() if name != 'step'}
  assert seen == {k: np.float32(v) for k, v in want.items()}
  assert speed >= run.result['speed'].keys() >= {
      'images_per_second', 'step_ms_p50', 'step_ms_p99', 'input_share'}


def test_a_finished_run_is_only_shown(run, monkeypatch, capsys):
  monkeypatch.setattr(train, 'build', None)
  assert train.run(run.config, run.folder) == run.result
  assert f'{run.result["test_accuracy"]:.2%}' in capsys.readouterr().out


def test_another_config_in_the_folder_is_refused_with_the_fields(run):
  other = run.config.copy_and_resolve_references()
  other.optimizer.lr, other.side.rank = 0.5, 3
  with pytest.raises(workdir.WorkdirError) as error:
    train.run(other, run.folder)
  for line in ('+ optimizer.lr = 0.5', '+ side.rank = 3', '- side.rank = 4'):
    assert line in str(error.value)
  assert 'train.epochs' not in str(error.value)
  assert 'another --workdir' in str(error.value)


def test_checkpoint_of_other_shapes_is_refused_in_words(run):
  other = run.config.copy_and_resolve_references()
  other.side.rank = 2
  state = train.build(other).state
  with checkpoint.manager(run.folder) as checkpoints:
    with pytest.raises(ValueError, match='does not hold the state') as error:
      checkpoint.restore(checkpoints, 12, state)
    assert re.search(
        r'\n  params/side/\w+down: \(4, 24\) there, \(2, 24\) now',
        str(error.value)), str(error.value)
    # What it does hold comes back with where it was.
    restored = checkpoint.restore(
        checkpoints, 12, train.build(run.config).state)
  assert restored.position.step == int(restored.state.step) == 12
  jax.tree.map(
      np.testing.assert_array_equal, jax.device_get(restored.state.params),
      run.validated[2])


def test_without_validation_the_last_is_tested(tmp_path, weights, capsys):
  cfg = runs.config(weights, val='', epochs=1.0, log_steps=50)
  cfg.side.name = 'linear'
  result = train.run(cfg, tmp_path)
  assert result['val_accuracy'] is None
  assert result['tested_step'] == result['steps'] == 4
  assert [line['step'] for line in runs.lines(tmp_path)] == [4]
  out = capsys.readouterr()
  assert 'test accuracy' in out.out and 'val accuracy' not in out.out
  assert not out.err


def test_config_that_cannot_be_built_leaves_the_folder_free(tmp_path, weights):
  cfg = runs.config(weights)
  cfg.side.name = 'lsa'
  with pytest.raises(ValueError, match='losa, lst, last'):
    train.run(cfg, tmp_path)
  assert not (tmp_path / workdir.CONFIG).exists()


def test_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
    tmp_path, weights):
  folder = tmp_path / 'run'
  status, _, err = runs.finish(runs.start(
      f'--config={runs.config_file(tmp_path / "config.py", weights)}',
      f'--workdir={folder}', '--config.optimizer.lr=1e30',
      '--config.optimizer.warmup_epochs=1', '--config.train.checkpoint_steps=1')
  )
  assert status == 1
  assert 'NonFiniteError' in err and 'Traceback' not in err
  assert 'config.optimizer.lr (now 1e+30)' in err and str(folder) in err
  # Saved by one device, restored to eight.
  built = train.build(runs.config(weights))
  with checkpoint.manager(folder) as checkpoints:
    step = checkpoints.latest_step()
    restored = checkpoint.restore(checkpoints, step, built.state)
  assert f'at step {step + 1} (epoch' in err
  assert int(restored.state.step) == step >= 1
  for leaf in jax.tree.leaves(restored.state.params):
    assert np.isfinite(leaf).all()


def test_two_accumulated_batches_are_one_of_twice_the_size(weights):
  def trained(every):
    cfg = runs.config(weights, batch_size=16 // every)
    cfg.optimizer.accumulate = every
    cfg.optimizer.warmup_epochs = 0.5
    built = train.build(cfg)
    state = built.state
    for number in range(3 * every):
      rows = slice(number * 16 // every, (number + 1) * 16 // every)
      batch = data.Batch(*(x[rows] for x in tiny.batch(examples=48)))
      state, _ = built.train_step(state, built.frozen, batch)
    return jax.device_get(state.params)

  one, two = trained(1), trained(2)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
  assert np.abs(one['head']['kernel']).max() > 1e-3


@pytest.mark.parametrize(('epochs', 'every', 'per_epoch', 'want'), [
    (3.0, 1.0, 4.0, {4, 8, 12}),
    (3.0, 1.0, 3.75, {4, 8, 12}),
    (1.0, 0.5, 3.75, {2, 4}),  # 1.875 and 3.75
    (2.5, 1.0, 4.0, {4, 8, 10}),  # the last step always
    (1.0, 7.0, 4.0, {4}),
    (3.0, 1.0, 0.5, {1, 2}),  # a batch is two epochs
    (4.0, 0.1, 0.5, {1, 2}),
    (4.0, 3.0, 0.5, {2}),
])
def test_validation_comes_after_every_so_many_epochs(
    epochs, every, per_epoch, want):
  cfg = config.default()
  cfg.train.eval_epochs = every
  steps = math.ceil(epochs * per_epoch)
  assert train.evaluation_steps(cfg, steps, per_epoch) == want


@pytest.mark.devices(8)
@pytest.mark.parametrize(('field', 'value'), [
    ('batch_size', 0), ('eval_batch_size', -8), ('log_steps', 0),
    ('epochs', 0.0), ('eval_epochs', -1.0), ('checkpoint_steps', -1),
    ('batch_size', 12), ('epochs', float('inf'))])
def test_numbers_that_cannot_be_are_refused_by_name(weights, field, value):
  cfg = runs.config(weights, **{field: value})
  with pytest.raises(ValueError, match=f'config.train.{field}={value}'):
    train.build(cfg)


def test_a_config_of_other_fields_is_refused(tmp_path):
  cfg = config.default()
  with cfg.unlocked():
    cfg.optimizer.learning_rate = 1.0
  with pytest.raises(ValueError, match=r'field optimizer\.learning_rate:'):
    train.run(cfg, tmp_path)
