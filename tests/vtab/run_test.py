"""`run` and `report`: the protocol, on tiny tasks and a tiny backbone."""

import csv
import json
import pathlib
import time

import pytest

from lst import config as config_lib
from lst import workdir
from lst.vtab import process, protocol, report, run, suites
from tests import commands, compiling, runs, tiny
from tests.vtab import made


@pytest.fixture(scope='module')
def ready(tmp_path_factory):
  """Two ready folders that anyone may have."""
  path = tmp_path_factory.mktemp('ready')
  made.folder(path / 'one', classes=4, test=40)
  made.folder(path / 'two', classes=8, test=24)
  return path


def config(weights, **sweep):
  """Some steps of 200 images."""
  out = tiny.config(weights)
  out.train.batch_size = out.train.eval_batch_size = 200
  out.train.epochs = 2.0
  out.sweep.update(sweep)
  return out


def select(path, *names):
  return suites.select('folder', str(path), names)


def written(folder):
  return {p: p.stat().st_mtime_ns
          for p in pathlib.Path(folder).rglob('result.json')}


@pytest.fixture(scope='module')
def done(ready, weights, tmp_path_factory):
  """A task that was tuned, trained and tested."""
  folder = str(tmp_path_factory.mktemp('done') / 'losa')
  tuned = config(weights, lr=(1e-4, 3e-2), seed=(3,))
  assert run.run(
      tuned, 'folder', select(ready, 'one'), folder, process.here) == 0
  return folder, tuned


def test_what_was_chosen_was_tested(done):
  folder = pathlib.Path(done[0]) / 'one'
  chosen = json.loads((folder / 'chosen.json').read_text())
  assert set(chosen['fields']) == {'optimizer.lr'}
  tune = json.loads((folder / 'tune' / 'result.json').read_text())
  best = max(tune['sweep'], key=lambda row: row['val_accuracy'])
  assert chosen['fields']['optimizer.lr'] == best['lr']
  assert chosen['val_accuracy'] == best['val_accuracy']
  # Nothing was chosen on the test images, or at a step of its own.
  assert tune['test_examples'] == 0 and tune['config']['data.test'] == ''
  assert tune['config']['data.train'] == 'train800'
  assert all(row['best_step'] == row['last_step'] for row in tune['sweep'])
  result = json.loads((folder / 'seed3' / 'result.json').read_text())
  assert result['config']['data.train'] == 'train800val200'
  assert result['config']['data.val'] == '' and result['config']['seed'] == 3
  assert result['config']['optimizer.lr'] == best['lr']
  assert result['test_examples'] == 40 and result['train_examples'] == 1000
  assert result['val_accuracy'] is None and result['flops_step'] > 0


def test_the_config_that_is_left_is_the_whole_of_it(done):
  names = {}
  exec(pathlib.Path(done[0], 'config.py').read_text(), names)
  assert config_lib.flat(names['get_config']()) == config_lib.flat(done[1])
  assert names['get_config']().is_locked


def test_again_runs_nothing_and_more_tasks_go_on(done, ready):
  folder, tuned = done
  before = written(folder)

  def never(kind, config, folder):
    raise AssertionError(folder)

  assert run.run(tuned, 'folder', select(ready, 'one'), folder, never) == 0
  assert written(folder) == before
  with pytest.raises(workdir.WorkdirError, match='holds runs of the suite'):
    run.run(tuned, 'bundled', suites.select('bundled', '', ()), folder, never)
  tuned.optimizer.b1 = 0.8
  with pytest.raises(workdir.WorkdirError, match=r'optimizer.b1 = 0.8'):
    run.run(tuned, 'folder', select(ready, 'one'), folder, never)
  tuned.optimizer.b1 = 0.9


@pytest.mark.parametrize('change', ['path', 'name', 'splits', 'digests'])
def test_other_data_are_not_mixed_into_what_has_ended(
    change, ready, weights, tmp_path):
  other = tmp_path / 'other'
  made.folder(other / 'one', classes=4, test=24)
  [task] = select(ready, 'one')
  task = task._replace(digests=('a', 'b'))
  [now] = {
      'path': select(other, 'one'),
      'name': [task._replace(data={**task.data, 'name': 'tfds'})],
      'splits': [task._replace(splits=task.splits._replace(val='val100'))],
      'digests': [task._replace(digests=('a', 'c'))]}[change]
  folder, faked = str(tmp_path / 'runs'), Faked(lambda config: 0.5)
  broken = Faked(lambda config: process.RunFailed('no memory'))
  # Nothing has ended yet: any data will do.
  assert run.run(config(weights), 'folder', (now,), folder, broken) == 1
  (tmp_path / 'runs' / 'one' / 'chosen.json').unlink(missing_ok=True)
  assert run.run(config(weights), 'folder', (task,), folder, faked) == 0
  # As one that was made ahead of the digests: they are no difference.
  assert run.run(config(weights), 'folder', (
      task._replace(digests=None),), folder, faked) == 0
  assert run.run(config(weights), 'folder', (task,), folder, faked) == 0
  count = len(faked.ran)
  with pytest.raises(workdir.WorkdirError, match=rf'one holds.*\n.*{change}: '):
    run.run(config(weights), 'folder', (now,), folder, faked)
  assert len(faked.ran) == count == 3


def test_the_report_has_the_cost_beside_each_accuracy(done, capsys):
  folder = pathlib.Path(done[0])
  assert report.run(str(folder)) == 0
  out = capsys.readouterr().out
  rows = list(csv.DictReader(
      (folder / 'results.csv').read_text().splitlines()))
  assert [row['seed'] for row in rows] == ['3']
  assert tuple(rows[0])[:len(report.FIELDS)] == report.FIELDS
  for row in rows:
    assert row['method'] == 'losa' and row['group'] == 'other'
    assert all(float(row[f]) > 0 for f in (
        'trainable_params', 'step_flops', 'peak_mib', 'step_ms', 'seconds'))
  mean = 100 * float(rows[0]['test_accuracy'])
  text = (folder / 'table.md').read_text()
  assert f'| mean of 1 tasks | {mean:.2f} |' in text
  for words in ('tiny', 'mean (0.5, 0.5, 0.5)', 'lr of', 'seeds: 3'):
    assert words.replace('(', '[').replace(')', ']') in text or words in text
  assert f'{mean:.2f}' in out


class Faked:
  """In place of runs: each leaves the accuracy that it is told."""

  def __init__(self, accuracy):
    self.accuracy, self.ran = accuracy, []

  def __call__(self, kind, config, folder):
    self.ran.append((kind, config, folder))
    value = self.accuracy(config)
    if isinstance(value, Exception):
      raise value
    pathlib.Path(folder).mkdir(parents=True)
    tested = bool(config.data.test)
    workdir.write_json(pathlib.Path(folder) / 'result.json', dict(
        config=config_lib.flat(config), val_accuracy=None if tested else value,
        test_accuracy=value if tested else None, trainable_params=5,
        flops_step=None, peak_memory_bytes=2**20, images_per_second=None,
        device='none', seconds=1.0, steps=3, test_examples=9, backbone='b',
        normalisation={'mean': [0], 'std': [1]}, versions={'lst': '0'}))


def test_a_method_that_cannot_be_stacked_is_tuned_run_by_run(
    ready, weights, tmp_path):
  tuned = config(weights, lr=(0.1, 0.2, 0.3), weight_decay=(0.0, 0.5))
  tuned.method = 'full'
  broken = process.RunFailed('NonFiniteError: the loss is nan')

  def accuracy(config):
    rate, decay = config.optimizer.lr, config.optimizer.weight_decay
    return broken if rate == 0.3 else rate + decay

  faked = Faked(accuracy)
  folder = str(tmp_path / 'full')
  assert run.run(tuned, 'folder', select(ready, 'two'), folder, faked) == 0
  assert [kind for kind, _, _ in faked.ran] == ['train'] * 9
  assert not any(c.data.test for _, c, _ in faked.ran[:6])
  final = faked.ran[-1][1]
  assert (final.optimizer.lr, final.optimizer.weight_decay) == (0.2, 0.5)
  assert [c.seed for _, c, _ in faked.ran[6:]] == [0, 1, 2]
  assert protocol.edges(tuned, {
      'optimizer.lr': 0.2, 'optimizer.weight_decay': 0.5}) == ['weight_decay']


@pytest.mark.parametrize(('field', 'value'), [
    ('rank', (4, 8)), ('alpha', (1.0,)), ('skip', (0, 1)), ('halving', 2),
    ('chunk', 1)])
def test_a_sweep_that_would_change_nothing_is_refused(
    field, value, ready, weights, tmp_path):
  tuned = config(weights, lr=(0.1, 0.2), **{field: value})
  tuned.method = 'lora'
  faked, folder = Faked(lambda config: 0.5), tmp_path / 'lora'
  with pytest.raises(ValueError, match=rf'config\.sweep\.{field}=.*lora'):
    run.run(tuned, 'folder', select(ready), str(folder), faked)
  assert not faked.ran and not folder.exists()


def test_a_task_that_fails_stops_no_other(ready, weights, tmp_path, capsys):
  folder = str(tmp_path / 'runs')

  def accuracy(config):
    if config.data.path.endswith('one'):
      return process.RunFailed('no memory')
    return 0.5

  assert run.run(config(weights), 'folder', select(ready), folder,
                 Faked(accuracy)) == 1
  out, err = capsys.readouterr()
  assert '[2/2] two: test 50.00 50.00 50.00 %' in out
  assert '[1/2] one: failed: no memory' in err
  assert '1 of 2 tasks are not done: one' in err
  assert report.run(folder) == 1
  text = pathlib.Path(folder, 'table.md').read_text()
  assert '| mean of 2 tasks | not done |' in text and '0 of 3 runs' in text
  assert run.run(config(weights), 'folder', select(ready), folder,
                 Faked(lambda config: 0.25)) == 0
  assert report.run(folder) == 0
  assert '37.50' in pathlib.Path(folder, 'table.md').read_text()


def test_one_task_of_a_suite_makes_no_mean(weights, tmp_path, capsys):
  folder = str(tmp_path / 'runs')
  assert run.run(
      config(weights), 'bundled', suites.select('bundled', '', ('digits',)),
      folder, Faked(lambda config: 0.5)) == 0
  assert report.run(folder) == 1
  text = pathlib.Path(folder, 'table.md').read_text()
  assert '| digits | natural | 50.00 ± 0.00 |' in text
  assert '| mean of 14 tasks | not done |' in text
  assert 'not done: texture, ' in capsys.readouterr().out


def test_data_are_looked_at_ahead_of_a_run(ready, weights, tmp_path, capsys):
  [task] = select(ready, 'one')
  task = task._replace(test=41)
  assert run.run(config(weights), 'folder', (task,), str(tmp_path / 'a'),
                 Faked(lambda config: 1.0)) == 1
  assert "'test' has 40 images, not 41" in capsys.readouterr().err


@pytest.mark.parametrize('suite', ['vtab', 'bundled'])
def test_no_tuning_has_a_test_split(suite):
  base = config_lib.default()
  base.sweep.lr, base.sweep.seed = (1e-3, 1e-2), (5, 6)
  base.train.checkpoint_steps = 7
  for task in suites.select(suite, '', ()):
    tuning = protocol.tuning(base, task)
    assert tuning.data.test == '' and not tuning.sweep.seed
    assert (tuning.data.train, tuning.data.val) == task.splits[:2]
    tested = protocol.tested(base, task, {'optimizer.lr': 1e-2}, 5)
    assert (tested.data.train, tested.data.val, tested.data.test) == (
        task.splits.both, '', task.splits.test)
    assert tested.optimizer.lr == 1e-2 and tested.seed == 5
    # What a kill without a word may cost is for the user to say.
    for of_run in (tuning, tested):
      assert of_run.train.checkpoint_steps == 7
      assert of_run.train.eval_epochs == of_run.train.epochs


def test_killed_it_goes_on_to_the_same(ready, weights, tmp_path):
  (tmp_path / 'tiny_suite.py').write_text(f'''"""Made by a test."""
def get_config():
  from tests.vtab import run_test
  out = run_test.config({weights!r}, seed=(0, 1))
  out.train.checkpoint_steps = 2
  return out
''')
  command = (
      'lst.vtab', 'run', '--suite=folder', f'--path={ready}', '--task=two',
      f'--config={tmp_path}/tiny_suite.py', f'--workdir={tmp_path}/runs')
  environment = {
      **compiling.ENVIRONMENT, 'PYTHONPATH': str(runs.ROOT),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
  first = tmp_path / 'runs' / 'two' / 'seed0' / 'result.json'
  process_ = commands.Command(*command, env=environment, cwd=runs.ROOT)
  runs.wait_for(first, process_)
  # The second run is on its way: as soon as it has claimed its folder.
  runs.wait_for(tmp_path / 'runs' / 'two' / 'seed1' / 'log.txt', process_)
  process_.kill()
  process_.wait(runs.TIMEOUT)
  before = first.stat().st_mtime_ns
  time.sleep(0.5)
  done = commands.Command(
      *command, env=environment, cwd=runs.ROOT).ended(runs.TIMEOUT)
  assert done.returncode == 0, done.stderr
  assert first.stat().st_mtime_ns == before
  assert '[1/1] two: test ' in done.stdout
  results = [json.loads((tmp_path / 'runs' / 'two' / f'seed{k}' / 'result.json'
                         ).read_text()) for k in (0, 1)]
  assert [r['config']['seed'] for r in results] == [0, 1]
  assert all(r['test_examples'] == 24 for r in results)


def test_the_words_of_a_run_that_fails_come_through(weights, tmp_path):
  broken = config(weights)
  broken.data.name, broken.data.path = 'vtab', str(tmp_path)
  with pytest.raises(process.RunFailed, match='DataError: No VTAB task'):
    process.here('train', broken, str(tmp_path / 'run'))


def test_the_schema_and_tasks_of_its_own(ready, weights, tmp_path):
  several = config(weights)
  several.tasks.a = config_lib.data()
  with pytest.raises(ValueError, match='tasks of its own'):
    run.run(several, 'folder', select(ready), str(tmp_path))
