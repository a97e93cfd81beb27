"""Every choice of LoSA's that the paper leaves open, by validation accuracy.

    python -m experiments.methods.ablations --folder=DIR [--part=0/2]
    python -m experiments.methods.ablations --table

A variant differs from the default in one field. On every task of both suites
it is trained on the 800 images with three rates and more, as in `run`, then
with the best of them and two more seeds; the 200 images of validation score it.
No test image is read. A line of ablations.csv is a run that has ended: the
same command goes on with what is left.
"""

import argparse
import collections
import pathlib
import time

import numpy as np

from experiments.methods import fit, run
from experiments.methods.figure import read
from experiments.methods.methods import METHODS, Entry, Point, best, rates

HERE = pathlib.Path(__file__).parent
FIELDS = (*run.KEY, 'lr', 'seed', 'val_accuracy', 'trainable_params', 'seconds')
DEFAULT = 'default'
# What a variant changes. The backbone has neither CLS token nor registers, so
# all poolings are one.
VARIANTS = {
    DEFAULT: {},
    'residual=running': {'side.residual': 'running'},
    'residual=figure': {'side.residual': 'figure'},
    'alpha=0.1': {'side.alpha': 0.1},
    'tap_norm=True': {'side.tap_norm': True},
    'norm=none': {'side.norm': 'none'},
    'token_mixing=False': {'side.token_mixing': False},
    'first=token': {'side.first': 'token'},
    'rank=4': {'side.rank': 4},
    'rank=16': {'side.rank': 16},
    'rank=32': {'side.rank': 32},
    'skip=6': {'side.skip': 6},
    'use_bias=True': {'side.use_bias': True},
    'activation=relu': {'side.activation': 'relu'},
}


def entry_of(variant: str) -> Entry:
  """LoSA with one field changed; it has no option that is tuned."""
  entry = METHODS['losa']
  return Entry(entry.fields | VARIANTS[variant], entry.rate)


class Ablation:
  """The variants on one task."""

  def __init__(self, suite: str, task: fit.Task, args: argparse.Namespace):
    self._suite, self._task, self._args = suite, task, args
    self._lines = run.Table(args.results / 'ablations.csv', FIELDS)

  def run(self, variant: str, backbone) -> None:
    """The rates of one variant, then the other seeds at the best of them."""
    key = (self._suite, self._task.name, self._task.group, variant)
    entry, args = entry_of(variant), self._args
    done = {(float(row['lr']), int(row['seed'])): float(row['val_accuracy'])
            for row in self._lines.rows(key)}
    fitters = run.Fitters(entry, self._task, backbone, args)

    def accuracy(point: Point, seed: int) -> float:
      if (point.lr, seed) not in done:
        began = time.monotonic()
        found, count = fitters[point.option].accuracy(
            point.lr, point.weight_decay, seed, 'train', 'val')
        self._lines.add((
            *key, point.lr, seed, found, count,
            round(time.monotonic() - began, 1)))
        done[point.lr, seed] = found
      return done[point.lr, seed]

    tried: dict[Point, float] = {}
    while left := rates(entry, tried):
      tried[left[0]] = accuracy(left[0], args.seeds[0])
    means = np.mean([accuracy(best(tried), seed) for seed in args.seeds])
    print(*key, best(tried).lr, f'val {means:.4f}', flush=True)


def scores(rows: list[dict]) -> dict[str, dict[tuple, float]]:
  """{variant: {(suite, task): accuracy in %}}, the mean over seeds.

  Of the rate that all seeds have: the best, for others are tried with one. A
  task where there is none yet is left out.
  """
  seeds = {row['seed'] for row in rows}
  groups = collections.defaultdict(dict)
  for row in rows:
    key = row['method'], row['suite'], row['task'], row['lr']
    groups[key][row['seed']] = 100 * float(row['val_accuracy'])
  out = collections.defaultdict(dict)
  for (variant, *task, _), found in groups.items():
    if found.keys() == seeds:
      out[variant][tuple(task)] = float(np.mean(list(found.values())))
  return out


def table(rows: list[dict]) -> str:
  """Markdown: each variant's mean less the default's, over the same tasks."""
  found = scores(rows)
  usual = found.get(DEFAULT, {})
  suites = list(dict.fromkeys(suite for suite, _ in usual))
  lines = [
      '| variant | ' + ' | '.join(
          f'{suite}, % | less the default' for suite in suites)
      + ' | tasks | better on |', '|---' * (3 + 2 * len(suites)) + '|']
  for variant, accuracies in found.items():
    tasks = [task for task in accuracies if task in usual]
    gains = np.array([accuracies[task] - usual[task] for task in tasks])
    cells = []
    for suite in suites:
      own = [k for k, task in enumerate(tasks) if task[0] == suite]
      if not own:
        cells += ['-', '-']
        continue
      error = gains[own].std(ddof=1) / np.sqrt(len(own)) if own[1:] else np.nan
      cells += [
          f'{np.mean([accuracies[tasks[k]] for k in own]):.1f}',
          f'{gains[own].mean():+.1f} ± {error:.1f}']
    lines.append(
        f'| {variant} | ' + ' | '.join(cells)
        + f' | {len(tasks)} | {int((gains > 0).sum())} |')
  return '\n'.join(lines) + '\n'


def main(argv: list[str] | None = None) -> None:
  """Runs what is not there yet, or writes the table of what is."""
  parser = run.parser(__doc__)
  parser.add_argument('--variants', nargs='*', default=list(VARIANTS))
  parser.add_argument('--table', action='store_true')
  args = parser.parse_args(argv)
  if args.table:
    text = table(read(args.results / 'ablations.csv'))
    (args.results / 'ablations.md').write_text(text)
    return
  config, backbone = run.opened(args)
  for suite, task in run.tasks(args):
    ablation = Ablation(suite, fit.read(config, task), args)
    for variant in args.variants:
      ablation.run(variant, backbone)


if __name__ == '__main__':
  main()
