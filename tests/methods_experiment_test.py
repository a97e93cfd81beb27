"""The comparison of methods at tiny size: it tunes, goes on, and tabulates."""

import csv

import pytest

from experiments.methods import figure, run
from experiments.methods.methods import METHODS, at_the_edge, points
from lst import config as config_lib
from lst import method, side, tuning
from tests import tiny


@pytest.mark.parametrize('name', METHODS)
def test_every_point_is_a_config_of_a_method(name, weights, backbone):
  tried = points(METHODS[name])
  assert len(tried) == 20 and len({str(point) for point in tried}) == 20
  rates = sorted({point['optimizer.lr'] for point in tried})
  assert rates[2] == METHODS[name].rate
  config = tiny.config(weights)
  for point in tried:
    config.update_from_flattened_dict(point)
    method.build(config, backbone, tiny.CLASSES)
  config_lib.check(config)


def test_every_method_is_compared():
  fields = [entry.fields for entry in METHODS.values()]
  assert {f['method'] for f in fields} == set(method.METHODS) - set(
      tiny.OF_CLIPS)
  assert {f['side.name'] for f in fields if f['method'] == 'side'} == set(
      side.SIDES)
  assert set(tuning.TUNINGS) < set(method.METHODS)


def test_the_best_on_validation_is_chosen_and_the_edge_seen(tmp_path, capsys):
  asked = []

  def fake(point, folder):
    asked.append(folder)
    far = abs(point['optimizer.lr'] - 1e-2) + point['optimizer.weight_decay']
    return {'val_accuracy': 1 - far - point['tuning.ssf_like']}

  entry = METHODS['ssf']
  METHODS['made'] = entry._replace(options=('tuning.ssf_like', (0.2, 0.1)))
  try:
    chosen = run.tuned(fake, 'made', tmp_path, 5)
    assert chosen['optimizer.lr'] == 1e-2
    assert chosen['optimizer.weight_decay'] == 1e-4
    assert chosen['tuning.ssf_like'] == 0.1
    assert len(asked) == len(set(asked)) == 20
    assert not at_the_edge(chosen, entry) and not capsys.readouterr().out
    METHODS['made'] = METHODS['made']._replace(rate=1e-3)
    assert run.tuned(fake, 'made', tmp_path, 5)['optimizer.lr'] == 1e-2
    assert 'move the middle' in capsys.readouterr().out
  finally:
    del METHODS['made']


def test_a_rehearsal_leaves_rows_a_table_and_a_figure(
    weights, tmp_path, monkeypatch):
  monkeypatch.chdir(run.HERE.parents[1])
  arguments = [
      f'--out={tmp_path / "runs"}', f'--results={tmp_path}', '--rates=0',
      '--seeds', '0', '1', '--methods', 'lora_qv', '--set',
      f'backbone.weights="{weights}"', 'train.epochs=1.0',
      'backbone.dtype="float32"', 'train.batch_size=400',
      'optimizer.warmup_epochs=0.0']
  run.main(arguments)
  with (tmp_path / 'results.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['seed'] for row in rows] == ['0', '1']
  for row in rows:
    assert tuple(row) == run.COLUMNS and '' not in row.values()
    assert row['task'] == 'digits' and row['method'] == 'lora_qv'
    assert float(row['step_flops']) > 1e6 and float(row['peak_mib']) > 10
  assert (tmp_path / 'figure.png').stat().st_size > 5000
  assert '| lora_qv |' in (tmp_path / 'table.md').read_text()
  # Nothing is run again.
  def refuse(*args, **kwargs):
    raise AssertionError(args)
  monkeypatch.setattr(run.subprocess, 'run', refuse)
  run.main(arguments)


def test_means_are_over_tasks_then_over_seeds():
  rows = [
      {'method': 'm', 'seed': seed, 'task': task, 'test_accuracy': accuracy,
       **dict.fromkeys(figure.COSTS, cost)}
      for seed, task, accuracy, cost in (
          ('0', 'a', 0.5, '2'), ('0', 'b', 0.7, '4'),
          ('1', 'a', 0.6, ''), ('1', 'b', 0.8, '6'))]
  found = figure.means(rows)['m']
  assert found['accuracy'] == pytest.approx(65)
  assert found['spread'] == pytest.approx(5)
  assert found['step_ms'] == pytest.approx(4)
