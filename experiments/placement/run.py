"""Trains the runs of figures, to results_TASK.csv; goes on where it was.

    python -m experiments.placement.run --task=digits --figures=scores,rates
    python -m experiments.placement.run --task=gtsrb --data=DIR --figures=grid

`scores` and `rates`, which others choose by, come first.
"""

import argparse
import csv
import functools
import json
import time

import jax
import numpy as np

from experiments.placement import runs, tasks, train
from experiments.placement.tasks import HERE
from lst import placement, search

FIELDS = (
    'task', 'figure', 'name', 'edges', 'seed', 'lr', 'val_accuracy', 'val_loss',
    'test_accuracy', 'parameters', 'forwards', 'seconds')
MOST = 24
SCORES = {'edges': 'scores', 'taps': 'taps'}
PROGRAMS = {
    'adapters': lambda task, rank=8, size=32: train.placed(
        task, MOST, placement.Adapter(rank)),
    'unlearned': lambda task, alpha: train.placed(
        task, MOST, placement.Unlearned(alpha)),
    'rival': train.rival,
    'taps': train.tapped,
}


class Runner:
  """Runs of a task, whose rows it keeps."""

  def __init__(self, name: str, folder: str):
    self.name, self.folder = name, folder
    self.path = HERE / f'results_{name}.csv'
    self.program = functools.cache(self._program)
    self.task = functools.cache(lambda size: tasks.Task(name, folder, size))

  def rows(self) -> list[dict]:
    """The runs that are done."""
    if not self.path.exists():
      return []
    with self.path.open() as file:
      return list(csv.DictReader(file))

  def _program(self, *program):
    return PROGRAMS[program[0]](self.task(_size(program)), *program[1:])

  def rate(self, kind: str) -> float:
    """The rate that validation chose, on the digits where not on this task.

    By the loss: of 200 images it tells more than the accuracy.
    """
    rows, found = self.rows(), {}
    if not any(row['figure'] == f'rates_{kind}' for row in rows):
      rows = Runner('digits', '').rows()
    for row in rows:
      if row['figure'] == f'rates_{kind}':
        found[float(row['lr'])] = float(row['val_loss'])
    return min(found, key=found.get)

  def run(self, figure: str, run: runs.Run, lr: float) -> None:
    """Makes one run, unless it is there, maybe under another figure."""
    same = [
        row for row in self.rows()
        if (row['edges'], row['seed'], float(row['lr']), row['program']) == (
            _written(run), str(run.seed), lr, json.dumps(run.program))]
    if any((r['figure'], r['name']) == (figure, run.name) for r in same):
      return
    row = same[0] if same else self._row(run, lr)
    new = not self.path.exists()
    with self.path.open('a', newline='') as file:
      out = csv.DictWriter(file, (*FIELDS, 'program'), lineterminator='\n')
      if new:
        out.writeheader()
      out.writerow(row | {'figure': figure, 'name': run.name})
    print(self.name, figure, run.name, row, flush=True)

  def _row(self, run: runs.Run, lr: float) -> dict:
    task = self.task(_size(run.program))
    frozen, kind = task.backbone.frozen, run.program[0]
    if kind == 'taps':
      frozen = train.norm_of(task), np.int32(run.edges)
    elif kind != 'rival':
      frozen = train.frozen_of(task, run.edges, MOST)
    program = self.program(*run.program)
    found = program.run(frozen, lr, run.seed)
    passes = () if kind == 'taps' else run.edges
    forwards = _layers(task).forwards(passes) * (
        _layers(task).whole / _layers(self.task(32)).whole)
    rounded = {k: round(v, 5) for k, v in found._asdict().items()}
    return rounded | {
        'task': self.name, 'edges': _written(run), 'seed': run.seed, 'lr': lr,
        'parameters': _parameters(program, run), 'forwards': round(forwards, 4),
        'program': json.dumps(run.program)}


def _size(program: tuple) -> int:
  return program[2] if len(program) > 2 else 32


@functools.cache
def _layers(task: tasks.Task) -> placement.Layers:
  return placement.layers(task.backbone)


def _written(run: runs.Run) -> str:
  return ' '.join(
      str(e) if isinstance(e, int) else f'{e[0]}-{e[1]}' for e in run.edges)


def _parameters(program: train.Program, run: runs.Run) -> int:
  """Trained beside the head."""
  params = dict(jax.eval_shape(program.init, 0))
  del params['head']
  count = sum(x.size for x in jax.tree.leaves(params))
  if run.program[0] in ('adapters', 'unlearned'):
    count = count // MOST * len(run.edges)
  return count


def scores(runner: Runner, what: str = 'edges') -> None:
  """Scores of all edges (or taps) by `lst.search`, to a file of their own."""
  path = HERE / f'{SCORES[what]}_{runner.name}.npz'
  if path.exists():
    return
  config = tasks.config_of(runner.name, runner.folder)
  config.search.what, config.search.count = what, runs.COUNT
  config.optimizer.lr = 1e-2
  started = time.monotonic()
  found = search.search(config)
  np.savez_compressed(path, **{
      name: placement.scored(found.spectra, name)
      for name in placement.SCORES})
  print(json.dumps({
      'task': runner.name, 'what': what,
      'seconds': time.monotonic() - started, **found.facts}), flush=True)


def tap_costs(runner: Runner) -> None:
  """What a step of LoSA on k cached taps costs, to tap_costs.csv.

  Beside it that of adapters on all layers, from cached states as well; its
  FLOPs are not counted, for its loops are as long as the edges need.
  """
  task, out = runner.task(32), []
  one = 2 * task.backbone.tokens * task.backbone.width
  for count in (1, 2, 4, 12):
    program = runner.program('taps', count)
    flops, cpu = program.step_costs(
        train.norm_of(task), np.zeros(count, np.int32))
    out.append({
        'what': f'losa, {count} taps',
        'parameters': _parameters(program, runs.taps('', (0,) * count)),
        'step_mflops_an_image': round(flops / tasks.BATCH / 1e6, 2),
        'step_cpu_ms': round(1e3 * cpu, 1),
        'cache_bytes_an_image': count * one})
  rows = placement.parallel(runs.DEPTH)
  program = runner.program('adapters')
  cpu = program.step_costs(*train.frozen_of(task, rows, MOST))[1]
  out.append({
      'what': 'parallel, 24 adapters', 'parameters': _parameters(
          program, runs.Run('', rows)), 'step_mflops_an_image': '',
      'step_cpu_ms': round(1e3 * cpu, 1), 'cache_bytes_an_image': one})
  with (HERE / 'tap_costs.csv').open('w', newline='') as file:
    rows = csv.DictWriter(file, out[0], lineterminator='\n')
    rows.writeheader()
    rows.writerows(out)


def rates(runner: Runner, only: str = '') -> None:
  """A few rates of each kind (or of `only` one), to choose on validation."""
  for kind, of_kind in runs.of_kinds().items():
    for run in of_kind if only in ('', kind) else ():
      for lr in runs.RATES[kind]:
        runner.run(f'rates_{kind}', run, lr)


def main() -> None:
  """Runs some figures of one task."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--task', default='digits')
  parser.add_argument('--data', default='', help='folder of ready tasks')
  parser.add_argument(
      '--figures', required=True, help='figure[:most runs],rates[:kind],...')
  args = parser.parse_args()
  runner = Runner(args.task, args.data)
  first = {
      'scores': scores, 'rates': rates,
      'tap_costs': tap_costs,
      'tap_scores': functools.partial(scores, what='taps')}
  for figure in args.figures.split(','):
    name, _, most = figure.partition(':')
    if name in first:
      first[name](runner, *filter(None, [most]))
      continue
    for run in runs.FIGURES[name](args.task)[:int(most) if most else None]:
      runner.run(name, run, runner.rate(run.kind))


if __name__ == '__main__':
  main()
