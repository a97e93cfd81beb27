"""`report`: what a folder of runs says, with the cost beside every accuracy."""

import csv
import io
import json
import pathlib
import statistics
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from lst import data
from lst.vtab.protocol import SEEDS
from lst.vtab.suites import SUITES
from lst.vtab.task import GROUPS, OTHER

FIELDS = (
    'task', 'group', 'method', 'seed', 'test_accuracy', 'trainable_params',
    'step_flops', 'peak_mib', 'step_ms', 'device')
# What more each row of results.csv says.
MORE = ('seconds', 'steps', 'test_examples', 'val_accuracy', 'settings')


class Line(NamedTuple):
  """A task over its seeds."""

  task: str
  group: str
  rows: list[dict[str, Any]]
  seeds: int

  @property
  def accuracies(self) -> list[float]:
    """In percent."""
    return [100 * row['test_accuracy'] for row in self.rows]

  @property
  def mean(self) -> float | None:
    """In percent; None unless all seeds are there."""
    if len(self.rows) < self.seeds or not self.rows:
      return None
    return statistics.fmean(self.accuracies)

  def mean_of(self, field: str) -> float | None:
    """The mean of a cost over the seeds, where it is known."""
    known = [row[field] for row in self.rows if row[field] is not None]
    return statistics.fmean(known) if known else None


def run(folder: str) -> int:
  """Shows the table, writes results.csv and table.md into the folder.

  Returns:
    The exit status: 1 if runs are missing; means are then not given.

  Raises:
    DataError: the folder holds no runs of a suite.
  """
  at = pathlib.Path(folder)
  try:
    about = json.loads((at / 'suite.json').read_text())
    config = json.loads((at / 'config.json').read_text())
  except (OSError, ValueError) as error:
    raise data.DataError(
        f'{folder} holds no runs of a suite ({error}): `python -m lst.vtab run '
        f'--workdir={folder}` makes them') from error
  lines = [_line(at, name, group, config)
           for name, group in _groups(about).items()]
  facts = _facts(at, about['suite'], config, lines)
  means = _means(lines)
  _write_csv(at, lines)
  (at / 'table.md').write_text(_markdown(facts, lines, means))
  _show(facts, lines, means)
  Console().print(
      f'in {folder}: results.csv, table.md', highlight=False, soft_wrap=True)
  missing = [line.task for line in lines if line.mean is None]
  if missing:
    print(f'not done: {", ".join(missing)}; no mean is given without them')
  return bool(missing)


def _groups(about: dict[str, Any]) -> dict[str, str]:
  """The group of each task; of a whole suite, those never run as well."""
  out = {}
  if about['suite'] != 'folder':
    out = {task.name: task.group for task in SUITES[about['suite']]('')}
  return out | {
      name: task['group'] for name, task in about['tasks'].items()}


def _seeds(config) -> tuple[int, ...]:
  return tuple(config['sweep.seed']) or SEEDS


def _line(at, name: str, group: str, config) -> Line:
  chosen = at / name / 'chosen.json'
  chosen = json.loads(chosen.read_text()) if chosen.exists() else {
      'fields': {}, 'val_accuracy': None, 'edges': []}
  seeds = _seeds(config)
  rows = []
  for seed in seeds:
    path = at / name / f'seed{seed}' / 'result.json'
    if path.exists():
      result = json.loads(path.read_text())
      rows.append(_row(at.name, name, group, seed, result, chosen))
  return Line(name, group, rows, len(seeds))


def _row(method, name, group, seed, result, chosen) -> dict[str, Any]:
  rate = result['images_per_second']
  batch = result['config']['train.batch_size']
  return {
      'task': name, 'group': group, 'method': method, 'seed': seed,
      'test_accuracy': result['test_accuracy'],
      'trainable_params': result['trainable_params'],
      'step_flops': result['flops_step'],
      'peak_mib': result['peak_memory_bytes'] / 2**20,
      'step_ms': 1000 * batch / rate if rate else None,
      'device': result['device'], 'seconds': result['seconds'],
      'steps': result['steps'], 'test_examples': result['test_examples'],
      'val_accuracy': chosen['val_accuracy'],
      'settings': ' '.join(
          f'{name.rpartition(".")[2]}={value:g}'
          for name, value in chosen['fields'].items()) + ''.join(
              f' ({name} at the edge)' for name in chosen['edges']),
      'backbone': result['backbone'], 'normalisation': result['normalisation'],
      'version': result['versions']['lst']}


def _facts(at, suite: str, config, lines: list[Line]) -> dict[str, str]:
  """What the whole table stands on."""
  facts = {
      'suite': f'{suite}, {len(lines)} tasks: 800 / 200 to tune, 1,000 to '
               'train, tested once',
      'checkpoint': str(config['backbone.weights']),
      'method': f'{config["method"]}; all settings are {at}/config.py',
      'tuned': '; '.join(
          f'{name.partition(".")[2]} of {list(values)}'
          for name, values in config.items()
          if name.startswith('sweep.') and name != 'sweep.seed'
          and isinstance(values, list | tuple) and values) or 'nothing',
      'seeds': ', '.join(map(str, _seeds(config))),
      'features': f'config.cache.mode={config["cache.mode"]}; where they are '
                  'kept, a step does without the backbone',
  }
  rows = [row for line in lines for row in line.rows]
  if rows:
    norm = rows[0]['normalisation']
    facts['checkpoint'] += f' ({rows[0]["backbone"]})'
    facts['normalisation'] = (
        f'mean {norm["mean"]}, std {norm["std"]} '
        f'({config["backbone.normalisation"]}); resized by '
        f'{config["data.resize"]}')
    facts['device'] = ', '.join(sorted({row['device'] for row in rows}))
  return facts


def _means(lines: list[Line]) -> dict[str, float | None]:
  """Of each group, of all tasks, and of the groups' means."""
  out = {}
  for group in (*GROUPS, OTHER):
    means = [line.mean for line in lines if line.group == group]
    if means:
      out[f'{group}, mean of {len(means)}'] = _mean(means)
  groups = list(out.values())
  out[f'mean of {len(lines)} tasks'] = _mean([line.mean for line in lines])
  out[f'mean of {len(groups)} group means'] = _mean(groups)
  return out


def _mean(values: list[float | None]) -> float | None:
  return None if None in values else statistics.fmean(values)


def _cells(line: Line) -> list[str]:
  def cost(field: str, form: str, unit: float = 1.0) -> str:
    value = line.mean_of(field)
    return '' if value is None else format(value / unit, form)

  spread = statistics.stdev(line.accuracies) if len(line.rows) > 1 else None
  accuracy = '' if line.mean is None else f'{line.mean:.2f}'
  if accuracy and spread is not None:
    accuracy += f' ± {spread:.2f}'
  if not accuracy:
    accuracy = f'{len(line.rows)} of {line.seeds} runs'
  return [
      line.task, line.group, accuracy,
      cost('trainable_params', ',.0f'), cost('step_flops', ',.3f', 1e9),
      cost('peak_mib', ',.0f'), cost('step_ms', ',.1f'),
      cost('seconds', ',.0f'),
      line.rows[0]['settings'] if line.rows else '']


HEADS = ('task', 'group', 'test accuracy, %', 'parameters', 'step, GFLOPs',
         'peak, MiB', 'step, ms', 'run, s', 'chosen')


def _percent(value: float | None) -> str:
  return 'not done' if value is None else f'{value:.2f}'


def _markdown(facts, lines: list[Line], means) -> str:
  out = [f'- {name}: {value}' for name, value in facts.items()]
  out += ['', '| ' + ' | '.join(HEADS) + ' |',
          '|' + '---|' * 2 + '---:|' * (len(HEADS) - 3) + '---|']
  out += ['| ' + ' | '.join(_cells(line)) + ' |' for line in lines]
  out += ['', '| mean | test accuracy, % |', '|---|---:|']
  out += [f'| {name} | {_percent(value)} |' for name, value in means.items()]
  return '\n'.join(out) + '\n'


def _show(facts, lines: list[Line], means) -> None:
  table = Table(box=box.SIMPLE, pad_edge=False)
  for k, head in enumerate(HEADS):
    right = 2 <= k < len(HEADS) - 1
    table.add_column(head, justify='right' if right else 'left')
  for line in lines:
    table.add_row(*_cells(line))
  table.add_section()
  for name, value in means.items():
    table.add_row(name, '', _percent(value))
  console = Console()
  for name, value in facts.items():
    console.print(f'{name}: {value}', highlight=False, markup=False)
  console.print(table, highlight=False)


def _write_csv(at, lines: list[Line]) -> None:
  text = io.StringIO()
  writer = csv.DictWriter(
      text, (*FIELDS, *MORE), extrasaction='ignore', lineterminator='\n')
  writer.writeheader()
  for line in lines:
    writer.writerows(line.rows)
  part = at / 'results.csv.part'
  part.write_text(text.getvalue())
  part.replace(at / 'results.csv')
