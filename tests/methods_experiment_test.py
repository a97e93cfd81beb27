"""The comparison of methods at tiny size: it tunes, goes on, and tabulates."""

import csv
import itertools

import jax
import numpy as np
import pytest

from experiments.methods import (
    ablations,
    costs,
    figure,
    fit,
    memory,
    methods,
    run,
)
from experiments.methods.methods import METHODS, Point, following
from lst import build, inputs, method, sharding, side, tuning
from lst import config as config_lib
from lst.backbones import backbone as backbones
from lst.plan import chips
from lst.vtab import suites
from tests import tiny


@pytest.mark.parametrize('name', METHODS)
def test_every_point_is_a_config_of_a_method(name, backbone):
  entry = METHODS[name]
  for option in entry.option[1]:
    config = run.config_of(entry, option, 32, 1.0, 8)
    config_lib.check(config)
    method.build(config, backbone, tiny.CLASSES)
  rates = [point.lr for point in methods.first(entry)]
  assert rates[1] == entry.rate and rates == sorted(rates) and len(rates) == 3


@pytest.mark.parametrize('variant', ablations.VARIANTS)
def test_a_variant_changes_one_field_of_the_default(variant):
  made = [
      run.config_of(ablations.entry_of(name), 0.0, 32, 1.0, 8)
      for name in (ablations.DEFAULT, variant)]
  usual, ours = map(config_lib.flat, made)
  changed = {name for name in usual if usual[name] != ours[name]}
  assert changed == ablations.VARIANTS[variant].keys()
  assert len(changed) == (variant != ablations.DEFAULT)


def test_every_method_is_compared():
  fields = [entry.fields for entry in METHODS.values()]
  assert {f['method'] for f in fields} == set(method.METHODS) - set(
      tiny.OF_CLIPS)
  assert {f['side.name'] for f in fields if f['method'] == 'side'} == set(
      side.SIDES)
  assert set(tuning.TUNINGS) < set(method.METHODS)
  for name in costs.REMAT:
    assert costs.entry_of(name).fields['tuning.remat'] is True


def searched(score):
  """The points that the search tries when `score(point)` is what they get."""
  entry = METHODS['ssf']
  tried = {point: score(point) for point in methods.first(entry)}
  while (point := following(entry, tried)) is not None:
    assert point not in tried
    tried[point] = score(point)
  return tried


def test_the_search_goes_on_until_the_best_rate_has_both_neighbours():
  def score(point):
    return (-abs(np.log10(point.lr) + 4) + (point.weight_decay == 1e-2)
            + (point.option == 0.1))

  tried = searched(score)
  best = methods.best(tried)
  # Far from where it began, 3e-3.
  assert best == Point(1e-4, 1e-2, 0.1)
  assert not methods.under_tuned(tried)
  # All rates come before the others, which are tried once each at the best.
  *rates, decay, option = tried
  assert [p.lr for p in rates] == [1e-3, 3e-3, 1e-2, 3e-4, 1e-4, 3e-5]
  assert decay == Point(1e-4, 1e-2, 0.0) and option == best


def test_a_search_that_ends_at_the_last_rate_is_told():
  tried = searched(lambda point: point.lr)
  assert methods.best(tried).lr == methods.RATES[-1]
  assert methods.under_tuned(tried)
  assert methods.under_tuned(searched(lambda point: -point.lr))


def test_of_equals_the_first_is_chosen():
  tried = searched(lambda point: 0.5)
  assert methods.best(tried) == methods.first(METHODS['ssf'])[0]


@pytest.fixture(scope='module')
def digits(weights):
  """(config, task, backbone) of the digits at tiny size."""
  config = tiny.config(weights)
  config.backbone.image_size = tiny.SIZE
  task, = suites.select('bundled', '', ('digits',))
  found = fit.read(config, task)
  few = {'train': 40, 'val': 24, 'both': 48, 'test': 30}
  splits = {
      name: fit.Examples(found.splits[name].images[:n],
                         found.splits[name].labels[:n])
      for name, n in few.items()}
  return config, found._replace(splits=splits), backbones.build(config.backbone)


def test_a_task_is_read_as_its_protocol_has_it(weights):
  config = tiny.config(weights)
  config.backbone.image_size = tiny.SIZE
  task, = suites.select('bundled', '', ('digits',))
  found = fit.read(config, task)
  sizes = {name: len(x.labels) for name, x in found.splits.items()}
  assert sizes == {'train': 800, 'val': 200, 'both': 1000, 'test': 797}
  assert found.splits['both'].images.shape == (1000, tiny.SIZE, tiny.SIZE, 3)
  joined = [found.splits[name].images for name in ('train', 'val')]
  np.testing.assert_array_equal(
      np.concatenate(joined), found.splits['both'].images)


@pytest.mark.parametrize('case', [('side', 'losa'), ('lora', 'losa')])
def test_a_run_is_that_of_the_package(digits, weights, case):
  _, task, backbone = digits
  config = tiny.config(weights, case)
  config.backbone.image_size = tiny.SIZE
  config.data.train, config.cache.mode = 'train[:48]', 'off'
  config.mesh.data = 1
  config.optimizer.warmup_epochs = 0.5
  config.optimizer.label_smoothing = 0.1
  config.seed, config.optimizer.weight_decay = 2, 0.1
  built, batches_of = inputs.open_(config, build.build(config))
  batches, state = batches_of.train(0), built.state
  for batch in itertools.islice(batches, built.steps):
    batch = sharding.put_batch(batch, built.mesh)
    state, _ = built.train_step(state, built.frozen, batches_of.ready(batch))
  batches.close()
  ours = fit.Fitter(config, task, backbone).fitted(
      config.optimizer.lr, config.optimizer.weight_decay, config.seed, 'both')
  for (path, a), b in zip(
      jax.tree.leaves_with_path(ours), jax.tree.leaves(state.params),
      strict=True):
    np.testing.assert_allclose(
        a, b, rtol=1e-4, atol=1e-5, err_msg=jax.tree_util.keystr(path))


def test_a_rehearsal_leaves_lines_tables_and_figures(
    digits, weights, tmp_path, monkeypatch):
  monkeypatch.setattr(run.fit, 'read', lambda config, task: digits[1])
  monkeypatch.setattr(fit, 'AT_ONCE', 8)
  arguments = [
      '--suites', 'bundled', '--tasks', 'digits', '--methods', 'linear',
      '--seeds', '0', '1', '--epochs', '2', f'--weights={weights}',
      '--dtype=float32', f'--size={tiny.SIZE}', f'--results={tmp_path}']
  run.main(arguments)
  tested = figure.read(tmp_path / 'tested.csv')
  tuned = figure.read(tmp_path / 'tuned.csv')
  assert [row['seed'] for row in tested] == ['0', '1']
  best = max(tuned, key=lambda row: float(row['val_accuracy']))
  assert all(row['lr'] == best['lr'] for row in tested)
  assert len(tuned) == len({tuple(r[k] for k in Point._fields) for r in tuned})
  row = costs.row('linear', 0, [{
      'trainable_params': 10, 'step_flops': 2e9, 'forward_flops': 1e9,
      'process_mib': 100, 'step_ms': [3.0, 1.0, 2.0], 'kept_step_ms': [0.5],
      'size': 16, 'batch': 8, 'device': 'cpu'}])
  assert (row['step_ms'], row['kept_step_ms']) == (2.0, 0.5)
  with (tmp_path / 'costs.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, costs.FIELDS)
    writer.writeheader()
    writer.writerow(row)
  (tmp_path / 'memory.csv').write_text(
      'method,option,peak_mib,compiled_for\nlinear,,45.2,h100\n')
  figure.main([f'--results={tmp_path}'])
  results = figure.read(tmp_path / 'results.csv')
  assert [tuple(row) for row in results] == [figure.FIELDS] * 2
  for row, run_ in zip(results, tested, strict=True):
    assert {k: row[k] for k in ('task', 'seed', 'test_accuracy')} == {
        k: run_[k] for k in ('task', 'seed', 'test_accuracy')}
    # Of the run, not of the classes that costs were measured with.
    assert row['trainable_params'] == run_['trainable_params'] != '10'
    assert (row['step_ms'], row['peak_mib'], row['device'], row['memory_of']
            ) == ('2.0', '45.2', 'cpu', 'h100')
  assert (tmp_path / 'figure_bundled.png').stat().st_size > 5000
  assert '| linear | no |' in (tmp_path / 'table.md').read_text()

  # Nothing is run again.
  def refuse(*args, **kwargs):
    raise AssertionError(args)

  monkeypatch.setattr(fit.Fitter, 'accuracy', refuse)
  run.main(arguments)
  assert figure.read(tmp_path / 'tested.csv') == tested


def test_memory_of_a_step_has_its_parts(weights, tmp_path, monkeypatch):
  monkeypatch.setattr(
      chips, 'devices', lambda topology: (None, jax.devices()[:1]))
  memory.main([
      f'--weights={weights}', f'--size={tiny.SIZE}', '--batch_size=4',
      f'--results={tmp_path}', '--methods', 'linear', 'full'])
  linear, full = figure.read(tmp_path / 'memory.csv')
  for row in linear, full:
    parts = [float(x) for name, x in row.items()
             if name.endswith('_mib') and name not in (
                 'peak_mib', 'streamed_mib')]
    assert float(row['peak_mib']) == pytest.approx(sum(parts), abs=0.05)
  assert float(full['optimizer_mib']) > float(linear['optimizer_mib'])


def test_costs_are_those_of_what_was_chosen():
  """Two tasks, one of which chose the other rank; heads are of the task."""
  rows = [
      {'suite': 's', 'task': task, 'method': 'losa', 'option': option,
       'trainable_params': params}
      for task, option, params in (('a', '8', '10'), ('b', '16', '30'))]
  rows += [{**row, 'method': 'lora_qv', 'option': '4.0'} for row in rows]
  found = {
      ('losa', '8'): {'step_ms': '1', 'kept_step_ms': '1'},
      ('losa', '16'): {'step_ms': '2', 'kept_step_ms': '5'},
      ('lora_qv', ''): {'step_ms': '7', 'peak_mib': '4'},
      ('lora_qv + remat', ''): {'step_ms': '9'}}
  assert figure.mean_costs(rows, found, 's') == {
      'losa': {'step_ms': 1.5, 'kept_step_ms': 3.0, 'trainable_params': 20},
      'lora_qv': {'step_ms': 7, 'peak_mib': 4, 'trainable_params': 20},
      'lora_qv + remat': {'step_ms': 9, 'trainable_params': 20}}
  assert figure.with_costs(rows[1], found)['step_ms'] == '2'
  assert costs.cases(['losa', 'linear', 'lora_qv + remat', 'vpt']) == [
      ('losa', 0), ('losa', 1), ('linear', 0), ('lora_qv + remat', 0),
      ('vpt', 0), ('vpt', 1)]


def test_variants_are_scored_by_all_seeds_on_validation(
    digits, weights, tmp_path, monkeypatch):
  train_only = digits[1]._replace(splits={
      name: digits[1].splits[name] for name in ('train', 'val')})
  monkeypatch.setattr(run.fit, 'read', lambda config, task: train_only)
  monkeypatch.setattr(fit, 'AT_ONCE', 8)
  arguments = [
      '--suites', 'bundled', '--tasks', 'digits', '--seeds', '0', '1',
      '--epochs', '1', '--variants', 'default', 'rank=4', '--dtype=float32',
      f'--weights={weights}', f'--size={tiny.SIZE}', f'--results={tmp_path}']
  ablations.main(arguments)
  rows = figure.read(tmp_path / 'ablations.csv')
  for variant in ('default', 'rank=4'):
    own = [row for row in rows if row['method'] == variant]
    assert len({row['lr'] for row in own}) == len(own) - 1 >= 3
    mean = ablations.scores(rows)[variant]['bundled', 'digits']
    best = max(float(r['val_accuracy']) for r in own if r['seed'] == '0')
    second, = (row for row in own if row['seed'] == '1')
    assert mean == pytest.approx(
        50 * (best + float(second['val_accuracy'])))
  # Nothing is run again.
  monkeypatch.setattr(fit.Fitter, 'accuracy', None)
  ablations.main(arguments)
  assert figure.read(tmp_path / 'ablations.csv') == rows
  ablations.main([*arguments, '--table'])
  assert '| rank=4 | ' in (tmp_path / 'ablations.md').read_text()


def test_a_variant_is_compared_on_the_tasks_that_both_have():
  accuracies = {
      ('default', 'a'): 0.5, ('default', 'b'): 0.7, ('default', 'c'): 0.1,
      ('rank=4', 'a'): 0.6, ('rank=4', 'b'): 0.9}
  text = ablations.table([
      {'suite': 's', 'task': task, 'method': variant, 'lr': '0.1',
       'seed': seed, 'val_accuracy': str(x)}
      for (variant, task), x in accuracies.items() for seed in '01'])
  assert '| rank=4 | 75.0 | +15.0 ± 5.0 | 2 | 2 |' in text
  assert '| default | 43.3 | +0.0 ± 0.0 | 3 | 0 |' in text


def test_distances_are_over_tasks_and_spreads_over_seeds():
  accuracies = {
      ('losa', 'a'): (0.5, 0.7), ('losa', 'b'): (0.6, 0.8),
      ('lst', 'a'): (0.4, 0.6), ('lst', 'b'): (0.7, 0.9)}
  rows = [
      {'suite': 's', 'method': m, 'task': task, 'seed': str(seed),
       'test_accuracy': str(x)}
      for (m, task), values in accuracies.items()
      for seed, x in enumerate(values)]
  found = figure.scores(rows, 's')
  np.testing.assert_allclose(figure.by_seed(found['losa']), [55, 75])
  gap, error, wins, of = figure.distance(found, 'lst')
  assert gap == pytest.approx(0.0, abs=1e-9) and (wins, of) == (1, 2)
  assert error == pytest.approx(10.0)
  # A method that lacks a task has no mean beside those that have all.
  assert 'half' not in figure.complete(
      found | {'half': {'a': {'0': 1.0}}})
