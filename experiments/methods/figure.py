"""The table and the figure of results.csv: accuracy against each cost.

    python -m experiments.methods.figure experiments/methods/results.csv
"""

import collections
import csv
import pathlib
import sys

import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot

COSTS = {
    'trainable_params': 'trainable parameters',
    'step_flops': 'FLOPs of a step',
    'peak_mib': 'peak memory, MiB',
    'step_ms': 'time of a step, ms',
}


def means(rows: list[dict]) -> dict[str, dict[str, float]]:
  """Of each method: accuracy over tasks, its spread over seeds, its costs.

  Accuracy is the mean over tasks for each seed, in %, then over seeds; spread
  is the standard deviation of the former.
  """
  seeds = collections.defaultdict(lambda: collections.defaultdict(list))
  costs = collections.defaultdict(lambda: collections.defaultdict(list))
  for row in rows:
    seeds[row['method']][row['seed']].append(100 * float(row['test_accuracy']))
    for name in COSTS:
      if row[name]:
        costs[row['method']][name].append(float(row[name]))
  out = {}
  for method, by_seed in seeds.items():
    each = [np.mean(values) for values in by_seed.values()]
    out[method] = {'accuracy': np.mean(each), 'spread': np.std(each)} | {
        name: np.mean(costs[method][name]) if costs[method][name] else np.nan
        for name in COSTS}
  return out


def table(found: dict[str, dict[str, float]]) -> str:
  """Markdown, best method first."""
  lines = ['| method | test accuracy, % | ' + ' | '.join(COSTS.values()) + ' |',
           '|---' * (2 + len(COSTS)) + '|']
  for method, row in sorted(
      found.items(), key=lambda item: -item[1]['accuracy']):
    cells = [f'{row[name]:,.4g}' if row[name] < 1e4 else f'{row[name]:.3g}'
             for name in COSTS]
    lines.append(
        f'| {method} | {row["accuracy"]:.1f} ± {row["spread"]:.1f} | '
        + ' | '.join(cells) + ' |')
  return '\n'.join(lines) + '\n'


def plot(found: dict[str, dict[str, float]], path: pathlib.Path) -> None:
  """Accuracy against each cost, one panel for each, to a PNG."""
  figure, panels = pyplot.subplots(
      1, len(COSTS), figsize=(4 * len(COSTS), 3.5), sharey=True)
  for panel, (name, label) in zip(panels, COSTS.items(), strict=True):
    for method, row in found.items():
      panel.errorbar(
          row[name], row['accuracy'], row['spread'], fmt='o', capsize=2)
      panel.annotate(
          method, (row[name], row['accuracy']), xytext=(3, 3), fontsize=7,
          textcoords='offset points')
    panel.set(xscale='log', xlabel=label)
  panels[0].set_ylabel('test accuracy, %')
  figure.tight_layout()
  figure.savefig(path, dpi=150)
  pyplot.close(figure)


def main(argv: list[str] | None = None) -> None:
  """Writes table.md and figure.png beside results.csv."""
  path = pathlib.Path((sys.argv[1:] if argv is None else argv)[0])
  with path.open() as file:
    found = means(list(csv.DictReader(file)))
  path.with_name('table.md').write_text(table(found))
  plot(found, path.with_name('figure.png'))


if __name__ == '__main__':
  main()
