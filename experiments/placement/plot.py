"""Draws every figure that results_*.csv has runs for, and spearman.csv.

    python -m experiments.placement.plot
"""

import csv
import pathlib

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

HERE = pathlib.Path(__file__).parent


def read() -> dict[str, list[dict]]:
  """The runs of each task."""
  out = {}
  for path in sorted(HERE.glob('results_*.csv')):
    with path.open() as file:
      rows = list(csv.DictReader(file))
    if rows:
      out[path.stem.removeprefix('results_')] = rows
  return out


def runs(rows: list[dict], *figures: str) -> dict[str, dict]:
  """The runs of some figures by name, accuracies as numbers in %."""
  return {
      row['name']: {
          'val': 100 * float(row['val_accuracy']),
          'test': 100 * float(row['test_accuracy']),
          'forwards': float(row['forwards'])}
      for row in rows if row['figure'] in figures}


def edge_of(name: str) -> tuple[int, int]:
  """(3, 5) of '3_5'."""
  return tuple(map(int, name.split('_')))


def parallel(tasks) -> Figure:
  """One adapter beside each layer."""
  figure = Figure(figsize=(7, 4), layout='constrained')
  axes = figure.add_subplot()
  for task, rows in tasks.items():
    found = runs(rows, 'parallel')
    if found:
      places = [edge_of(name)[0] for name in found]
      axes.plot(places, [r['test'] for r in found.values()], 'o-', label=task)
  axes.set(xlabel='source i of the one parallel adapter (i, i + 1)',
           ylabel='test accuracy, %')
  axes.legend()
  return figure


def matrix(found: dict[str, dict]):
  """(states, accuracies [source, target]) of a grid."""
  states = sorted({k for name in found for k in edge_of(name)})
  values = np.full((len(states), len(states)), np.nan)
  for name, run in found.items():
    i, j = edge_of(name)
    values[states.index(i), states.index(j)] = run['test']
  return states, values


def grids(tasks) -> Figure:
  """One adapter on a grid of edges, the best three marked."""
  there = {t: runs(rows, 'grid', 'coarse') for t, rows in tasks.items()}
  there = {t: found for t, found in there.items() if found}
  figure = Figure(figsize=(4.6 * len(there), 4.2), layout='constrained')
  for place, (task, found) in enumerate(there.items(), start=1):
    axes = figure.add_subplot(1, len(there), place)
    states, values = matrix(found)
    shown = axes.imshow(values, cmap='viridis')
    figure.colorbar(shown, ax=axes, shrink=0.8).set_label('test accuracy, %')
    best = sorted(found, key=lambda name: -found[name]['test'])[:3]
    for rank, name in enumerate(best, start=1):
      i, j = (states.index(k) for k in edge_of(name))
      axes.text(j, i, str(rank), ha='center', va='center', color='tab:red',
                weight='bold')
    axes.set(title=task, xlabel='target', ylabel='source')
    axes.set_xticks(range(len(states)), states)
    axes.set_yticks(range(len(states)), states)
  return figure


def spearman(tasks) -> list[dict]:
  """Rank correlation of each score, and of each other task, with accuracy."""
  out = []
  single = {
      t: runs(rows, 'grid', 'coarse', 'parallel') for t, rows in tasks.items()}
  for task, found in single.items():
    path = HERE / f'spectra_{task}.npz'
    if not found or not path.exists():
      continue
    edges = [edge_of(name) for name in found]
    accuracy = [run['test'] for run in found.values()]
    for name, scores in np.load(path, allow_pickle=False).items():
      rho = stats.spearmanr([scores[e] for e in edges], accuracy)
      out.append((task, name, len(edges), rho.statistic, rho.pvalue))
    for other, theirs in single.items():
      both = sorted(found.keys() & theirs.keys())
      if other != task and len(both) > 3:
        rho = stats.spearmanr(
            [found[n]['test'] for n in both], [theirs[n]['test'] for n in both])
        out.append((
            task, f'accuracy on {other}', len(both), rho.statistic,
            rho.pvalue))
  fields = ('task', 'score', 'edges', 'spearman', 'p')
  return [dict(zip(fields, row, strict=True)) for row in out]


def scatter(tasks) -> Figure:
  """Accuracy of one adapter against the score of its edge."""
  figure = Figure(figsize=(4.6 * len(tasks), 3.8), layout='constrained')
  for place, (task, rows) in enumerate(tasks.items(), start=1):
    axes = figure.add_subplot(1, len(tasks), place)
    path = HERE / f'spectra_{task}.npz'
    if path.exists():
      scores = np.load(path, allow_pickle=False)['srank']
      found = runs(rows, 'grid', 'coarse', 'parallel')
      for back, name in ((True, 'recurrent'), (False, 'forward')):
        points = [
            (scores[edge_of(n)], r['test']) for n, r in found.items()
            if (edge_of(n)[0] > edge_of(n)[1]) == back]
        if points:
          axes.scatter(*zip(*points, strict=True), s=14, label=name)
      axes.legend()
    axes.set(title=task, xlabel='srank of the edge', ylabel='test accuracy, %')
  return figure


def sets(tasks) -> Figure:
  """Random sets, all of them, against sets with a rule."""
  figure = Figure(figsize=(4.6 * len(tasks), 3.8), layout='constrained')
  for place, (task, rows) in enumerate(tasks.items(), start=1):
    axes = figure.add_subplot(1, len(tasks), place)
    found = runs(rows, 'sets')
    random = {n: r for n, r in found.items() if n.startswith('random')}
    if random:
      axes.hist([r['test'] for r in random.values()], bins=8, color='0.8')
      chosen = max(random.values(), key=lambda r: r['val'])
      axes.axvline(chosen['test'], color='black', linestyle='--',
                   label='random, best of validation')
    others = [n for n in found if n not in random and n != 'linear']
    for number, name in enumerate(others):
      axes.axvline(found[name]['test'], color=f'C{number}', label=name)
    axes.set(title=task, xlabel='test accuracy, %', ylabel='random sets')
    axes.legend(fontsize=7)
  return figure


def counts(tasks) -> Figure:
  """Gradient Guided Adapters of growing number."""
  figure = Figure(figsize=(6, 4), layout='constrained')
  axes = figure.add_subplot()
  for task, rows in tasks.items():
    found = runs(rows, 'counts')
    if found:
      numbers = [int(name.removeprefix('gga_')) for name in found]
      axes.plot(numbers, [r['test'] for r in found.values()], 'o-', label=task)
  axes.set(xlabel='adapters', ylabel='test accuracy, %', xscale='log')
  axes.legend()
  return figure


FIGURES = {
    'parallel': (parallel, ('parallel',)),
    'grid': (grids, ('grid', 'coarse')),
    'scatter': (scatter, ('grid', 'coarse', 'parallel')),
    'sets': (sets, ('sets',)),
    'counts': (counts, ('counts',)),
}


def main() -> None:
  """Draws what there is."""
  tasks = read()
  for name, (draw, needed) in FIGURES.items():
    there = {t: rows for t, rows in tasks.items() if runs(rows, *needed)}
    if there:
      draw(there).savefig(HERE / f'{name}.png', dpi=100)
  found = spearman(tasks)
  if found:
    with (HERE / 'spearman.csv').open('w', newline='') as file:
      rows = csv.DictWriter(file, found[0], lineterminator='\n')
      rows.writeheader()
      rows.writerows(
          {**row, 'spearman': round(row['spearman'], 3),
           'p': f'{row["p"]:.2g}'} for row in found)


if __name__ == '__main__':
  main()
