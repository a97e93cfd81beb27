"""`run`: tunes on 800 / 200, trains on the 1,000, tests once; every task.

Each run is an ordinary one in a folder of its own: `<task>/tune` and
`<task>/seed<n>`. What has ended is not run again, what was killed goes on.
The folder's config.py alone is enough to run all of it anew.
"""

import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from lst import config as config_lib
from lst import data, hosts, workdir
from lst.sweep import points
from lst.vtab import prepare, process, protocol
from lst.vtab.checks import check
from lst.vtab.task import Task

SUITE = 'suite.json'
Runner = Callable[[str, Any, str], None]


def run(
    config, suite: str, tasks: tuple[Task, ...], folder: str,
    runner: Runner = process.run) -> int:
  """Runs the tasks that have data, and says which have none.

  Args:
    config: `lst.config.default()`, changed or not; `sweep` is the budget of
      tuning, `data` is that of the tasks.
    suite: its name.
    tasks: of the suite.
    folder: of all runs of this config on this suite.
    runner: of one run, see `process`.

  Returns:
    The exit status: 1 if any task was not finished.

  Raises:
    WorkdirError: the folder is in use, or holds another config, suite or data.
    ValueError: the config is not one of the schema, has several tasks, or a
      sweep of what its method has not.
    lst.hosts.Preempted: SIGTERM came; the run at hand has left a checkpoint.
    SystemExit: with status 75, if it came between two runs.
  """
  config_lib.check(config)
  if config.tasks:
    raise ValueError('config.tasks: a suite has tasks of its own')
  protocol.check(config)
  with workdir.locked(folder):
    workdir.check_config(folder, config)
    _claim(folder, suite, tasks)
    workdir.claim(folder, config)
    again = pathlib.Path(folder) / 'config.py'
    again.write_text(protocol.as_file(config, suite))
    with process.on_sigterm(lambda *_: sys.exit(hosts.RESTART)):
      failed = _all(config, tasks, folder, runner)
  if failed:
    print(f'{len(failed)} of {len(tasks)} tasks are not done: '
          f'{", ".join(failed)}; the same command goes on with them',
          file=sys.stderr)
  return bool(failed)


def _all(config, tasks, folder: str, runner: Runner) -> list[str]:
  """Runs every task; returns the names of those that were not finished."""
  failed, reach = [], prepare.Reach()
  for number, task in enumerate(tasks, 1):
    head = f'[{number}/{len(tasks)}] {task.name}: '
    try:
      print(head + _task(config, task, folder, runner, reach), flush=True)
    except (data.DataError, process.RunFailed) as error:
      failed.append(task.name)
      print(f'{head}failed: {error}', file=sys.stderr, flush=True)
  return failed


def _claim(folder: str, suite: str, tasks: tuple[Task, ...]) -> None:
  """The folder is of one suite; the rows of its tasks are kept in it."""
  path = pathlib.Path(folder) / SUITE
  about = {'suite': suite, 'tasks': {}}
  if path.exists():
    about = json.loads(path.read_text())
    if about['suite'] != suite:
      raise workdir.WorkdirError(
          f'{folder} holds runs of the suite {about["suite"]}, not {suite}: '
          'choose another --workdir')
    for task in tasks:
      _check_data(folder, about['tasks'].get(task.name, {}), task)
  about['tasks'] |= {task.name: task._asdict() for task in tasks}
  workdir.write_json(path, about)


def _check_data(folder: str, was: dict[str, Any], task: Task) -> None:
  """Raises WorkdirError where runs of a task that have ended had other data."""
  at = pathlib.Path(folder) / task.name
  if not (at / 'chosen.json').exists() and not any(at.rglob('result.json')):
    return
  was, now = (
      {'splits': row.get('splits'), 'digests': row.get('digests')}
      | {f'data.{k}': value for k, value in row.get('data', {}).items()}
      for row in (was, json.loads(json.dumps(task._asdict()))))
  # What was not known when the folder was made is not compared.
  lines = [f'\n  {name}: {was[name]!r} there, {now[name]!r} now' for name in now
           if None not in (was.get(name), now[name]) and was[name] != now[name]]
  if lines:
    raise workdir.WorkdirError(
        f'{at} holds runs of other data:{"".join(lines)}\nGive --path as it '
        'was (a link will do where the data have moved), or choose another '
        '--workdir')


def _task(config, task: Task, folder: str, runner: Runner, reach) -> str:
  """Runs what is left of a task; returns a line about it."""
  at = os.path.join(folder, task.name)
  seeds = protocol.seeds(config)
  runs = {seed: os.path.join(at, f'seed{seed}') for seed in seeds}
  left = [s for s in seeds if not _result(runs[s])]
  if left:
    why = prepare.missing(task, reach)
    problems = (why,) if why else check(task, read=False).problems
    if problems:
      raise data.DataError('; '.join(problems))
  chosen = _chosen(config, task, at, runner)
  for seed in left:
    runner('train', protocol.tested(config, task, chosen['fields'], seed),
           runs[seed])
  accuracy = [_result(runs[s])['test_accuracy'] for s in seeds]
  edge = chosen['edges']
  return ', '.join(
      [f'{name}={value:g}' for name, value in chosen['fields'].items()]
      + ([f'{", ".join(edge)} at the edge of the grid'] if edge else [])
      + ['test ' + ' '.join(f'{100 * a:.2f}' for a in accuracy) + ' %'])


def _result(folder: str) -> dict[str, Any] | None:
  path = pathlib.Path(folder) / 'result.json'
  return json.loads(path.read_text()) if path.exists() else None


def _chosen(config, task: Task, at: str, runner: Runner) -> dict[str, Any]:
  """{'fields': ..., 'val_accuracy': ..., 'edges': ...}: what 200 images say."""
  path = pathlib.Path(at) / 'chosen.json'
  if path.exists():
    return json.loads(path.read_text())
  out = {'fields': {}, 'val_accuracy': None, 'edges': []}
  fields = protocol.grid(config)
  if fields:
    tuning = protocol.tuning(config, task)
    flat, accuracy = _tune(tuning, os.path.join(at, 'tune'), runner)
    out = {
        'fields': {points.FIELDS[f]: flat[points.FIELDS[f]] for f in fields},
        'val_accuracy': accuracy}
    out['edges'] = protocol.edges(config, out['fields'])
  os.makedirs(at, exist_ok=True)
  workdir.write_json(path, out)
  return out


def _tune(tuning, folder: str, runner: Runner):
  """(flat config, accuracy) of the best point; of a single one, unseen."""
  only = points.points(tuning)
  if len(only) == 1:
    return config_lib.flat(only[0]), None
  tune = _together if tuning.method == 'side' else _one_by_one
  return tune(tuning, folder, runner)


def _together(tuning, folder: str, runner: Runner):
  """All points in one pass of the backbone; (flat config, accuracy)."""
  if not _result(folder):
    runner('sweep', tuning, folder)
  best = _result(os.path.join(folder, 'best'))
  return best['config'], best['val_accuracy']


def _one_by_one(tuning, folder: str, runner: Runner):
  """Each point a run of its own, where the backbone is not left as it is."""
  best, errors = (None, -1.0), []
  for point in points.points(tuning):
    name = points.name(point, tuning).replace(' ', ',')
    at = os.path.join(folder, name)
    failed = pathlib.Path(at) / 'diverged.txt'
    if not _result(at) and not failed.exists():
      try:
        runner('train', point, at)
      except process.RunFailed as error:
        if 'NonFiniteError' not in str(error):
          raise
        failed.parent.mkdir(parents=True, exist_ok=True)
        failed.write_text(str(error))
    if failed.exists():
      errors.append(f'{name}: {failed.read_text()}')
      continue
    result = _result(at)
    if result['val_accuracy'] > best[1]:
      best = result['config'], result['val_accuracy']
  if best[0] is None:
    raise process.RunFailed('; '.join(errors))
  return best
