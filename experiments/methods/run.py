"""Every method on a list of tasks, tuned alike, three seeds, to results.csv.

    python -m experiments.methods.run --out=runs/methods

A run that has ended is not run again: the same command goes on.
"""

import argparse
import csv
import importlib.util
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

from experiments.methods import figure
from experiments.methods.methods import METHODS, at_the_edge, points

HERE = pathlib.Path(__file__).parent
SEEDS = (0, 1, 2)
COLUMNS = (
    'task', 'group', 'method', 'seed', 'test_accuracy', 'trainable_params',
    'step_flops', 'peak_mib', 'step_ms', 'device')

# The config file of a task, its group, and its fields for tuning and for the
# final runs.
TASKS = {
    'digits': (
        'configs/digits.py', 'bundled',
        {'data.train': 'train[:800]', 'data.val': 'train[800:]',
         'data.test': ''},
        {'data.train': 'train', 'data.test': 'test'}),
}


def command(file: str, fields: dict, folder: pathlib.Path) -> dict:
  """Runs a config file with these fields changed; its result.

  Each run is a process of its own, for the peak of its memory.
  """
  done = folder / 'result.json'
  if not done.exists():
    flags = [f'--config.{name}={value}' for name, value in fields.items()]
    subprocess.run(
        [sys.executable, '-m', 'lst.main', f'--config={file}',
         f'--workdir={folder}', *flags], check=True)
  return json.loads(done.read_text())


def tuned(run: Callable, method: str, folder: pathlib.Path, rates: int) -> dict:
  """The point of a method with the highest accuracy on validation.

  Args:
    run: (fields, folder) -> result, with validation and without a test.
    method: a key of `METHODS`.
    folder: of its runs.
    rates: learning rates to try.
  """
  tried = points(METHODS[method], rates)
  scores = [run(point, folder / f'tune{k}')['val_accuracy']
            for k, point in enumerate(tried)]
  chosen = tried[scores.index(max(scores))]
  if at_the_edge(chosen, METHODS[method], rates):
    print(f'{folder}: the best rate, {chosen["optimizer.lr"]}, is the last of '
          'its grid: move the middle of the grid in methods.py')
  return chosen


def row(names: tuple, seed: int, result: dict, forward: float) -> dict:
  """A line of results.csv of a result.

  `names` is (task, group, method); `forward` the FLOPs of the frozen forward
  pass on one batch.
  """
  rate, ratio = result['images_per_second'], result['flops_step_over_forward']
  batch = result['config']['train.batch_size']
  return dict(zip(COLUMNS, (
      *names, seed, result['test_accuracy'], result['trainable_params'],
      ratio and round(ratio * forward),
      round(result['peak_memory_bytes'] / 2**20),
      rate and round(1000 * batch / rate, 2), result['device']), strict=True))


def forward_flops(file: str, extra: dict) -> float:
  """FLOPs of the frozen backbone on a batch of a config file's task."""
  from lst import build, report
  spec = importlib.util.spec_from_file_location('task', file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config()
  config.update_from_flattened_dict(extra)
  return report.forward_flops(config, build.build(config))


def main(argv: list[str] | None = None) -> None:
  """Tunes and runs what is asked for, then writes table and figure."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--results', type=pathlib.Path, default=HERE)
  parser.add_argument('--tasks', nargs='*', default=list(TASKS))
  parser.add_argument('--methods', nargs='*', default=list(METHODS))
  parser.add_argument('--seeds', nargs='*', type=int, default=SEEDS)
  parser.add_argument('--rates', type=int, default=5, help='0: nothing tuned')
  parser.add_argument(
      '--set', nargs='*', default=[], help='field=JSON value, for every run')
  args = parser.parse_args(argv)
  extra = {name: json.loads(value) for name, _, value in (
      text.partition('=') for text in args.set)}
  rows = []
  for task in args.tasks:
    rows += compared(task, args, extra)
  with (args.results / 'results.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
  figure.main([str(args.results / 'results.csv')])


def compared(task: str, args: argparse.Namespace, extra: dict) -> list[dict]:
  """The lines of all methods on one task."""
  file, group, tuning, final = TASKS[task]
  forward, rows = forward_flops(file, extra), []
  for method in args.methods:
    folder = args.out / task / method
    chosen = METHODS[method].fields
    if args.rates:
      chosen = tuned(
          lambda point, to: command(file, point | tuning | extra, to), method,
          folder, args.rates)
    for seed in args.seeds:
      result = command(
          file, chosen | final | extra | {'seed': seed},
          folder / f'seed{seed}')
      rows.append(row((task, group, method), seed, result, forward))
  return rows


if __name__ == '__main__':
  main()
