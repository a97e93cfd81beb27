"""The figures of single edges: accuracies of one adapter, and scores."""

import numpy as np
from matplotlib.figure import Figure

from experiments.placement import results
from lst.placement import SCORES, Asked, select

SIZE = 4.2


def panels(tasks, height: float = 3.8, width: float = SIZE, across: int = 3):
  """A figure with axes for each task, so many beside each other."""
  columns = min(across, len(tasks))
  rows = -(-len(tasks) // columns)
  figure = Figure(
      figsize=(width * columns, height * rows), layout='constrained')
  axes = figure.subplots(rows, columns, squeeze=False).ravel()
  for empty in axes[len(tasks):]:
    empty.remove()
  return figure, zip(axes, tasks.items(), strict=False)


def parallel(tasks) -> Figure:
  """One adapter beside each layer."""
  figure, places = panels(tasks)
  for axes, (task, figures) in places:
    found = sorted(results.ones(figures, 'parallel').items())
    axes.errorbar(
        [edge[0] for edge, _ in found], [row.test for _, row in found],
        [row.error for _, row in found], fmt='o-', markersize=4, capsize=2)
    linear = results.linear(figures)
    if linear:
      axes.axhline(linear.test, color='0.5', linestyle='--', label='no adapter')
      axes.legend()
    axes.set(title=task, xlabel='source i of the one adapter (i, i + 1)',
             ylabel='test accuracy, %')
  return figure


def grid(tasks) -> Figure:
  """One adapter on a grid of edges; the best three of validation marked."""
  figure, places = panels(tasks)
  for axes, (task, figures) in places:
    found = results.ones(figures, 'grid')
    states = sorted({k for edge in found for k in edge})
    values = np.full((len(states), len(states)), np.nan)
    for (i, j), row in found.items():
      values[states.index(i), states.index(j)] = row.test
    shown = axes.imshow(values, cmap='viridis')
    figure.colorbar(shown, ax=axes, shrink=0.8).set_label('test accuracy, %')
    best = sorted(found, key=lambda e: -found[e].val)[:3]
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (i, j), row in found.items():
      rank = f'\n#{best.index((i, j)) + 1}' if (i, j) in best else ''
      axes.text(
          states.index(j), states.index(i), f'{row.test:.1f}{rank}',
          ha='center', va='center', fontsize=8,
          weight='bold' if rank else 'normal',
          color='black' if row.test > middle else 'white')
    axes.set(title=task, xlabel='target: state that it adds to',
             ylabel='source: state that it reads')
    axes.set_xticks(range(len(states)), states)
    axes.set_yticks(range(len(states)), states)
  return figure


def scores(tasks) -> Figure:
  """The sranks of all edges, and those that GGA chooses."""
  figure, places = panels(tasks)
  for axes, (task, _) in places:
    values = results.scores(task)['srank']
    shown = axes.imshow(values, cmap='viridis')
    figure.colorbar(shown, ax=axes, shrink=0.8).set_label('srank')
    edges = select('gga', Asked(12, 12, values))
    for rank, (i, j) in enumerate(edges, start=1):
      axes.text(j, i, str(rank), ha='center', va='center', fontsize=7,
                color='tab:red', weight='bold')
    axes.set(title=task, xlabel='target: state that it adds to',
             ylabel='source: state that it reads')
    axes.set_xticks(range(0, 25, 4))
    axes.set_yticks(range(0, 25, 4))
  return figure


def spearman(tasks, correlations) -> Figure:
  """Rank correlation of each score with the accuracy of one adapter."""
  found = [row for row in correlations
           if row['kind'] == 'score and accuracy']
  names = [task for task in tasks if any(r['task'] == task for r in found)]
  figure = Figure(figsize=(9, 4.6), layout='constrained')
  axes = figure.add_subplot()
  for k, task in enumerate(names):
    rows = [r for r in found if r['task'] == task]
    rho = np.array([r['spearman'] for r in rows])
    spread = np.array([
        (r['spearman'] - r['low'], r['high'] - r['spearman']) for r in rows])
    axes.errorbar(
        np.arange(len(SCORES)) + 0.12 * (k - (len(names) - 1) / 2), rho,
        np.maximum(spread.T, 0), fmt='o', capsize=3,
        label=f'{task}, {rows[0]["edges"]} edges')
  axes.axhline(0, color='0.5', linewidth=0.8)
  axes.set_xticks(range(len(SCORES)), [n.replace('_', ' ') for n in SCORES])
  axes.set(xlabel='score', ylim=(-1, 1),
           ylabel='Spearman with test accuracy (95 %)')
  axes.legend(fontsize=8, ncols=3, loc='lower left')
  return figure


def scatter(tasks) -> Figure:
  """Accuracy of one adapter against the srank of its edge."""
  figure, places = panels(tasks)
  for axes, (task, figures) in places:
    values, found = results.scores(task)['srank'], results.ones(figures)
    for name, back in (('recurrent', True), ('other', False)):
      there = {e: r for e, r in found.items() if (e[0] > e[1]) == back}
      axes.errorbar(
          [values[e] for e in there], [r.test for r in there.values()],
          [r.error for r in there.values()], fmt='o', markersize=4,
          linewidth=0.7, label=name)
    # Room for the legend above all points.
    axes.set_ylim(top=axes.get_ylim()[1] + 0.2 * np.ptp(axes.get_ylim()))
    axes.legend(ncols=2, loc='upper left')
    axes.set(title=task, xlabel='srank of the edge', ylabel='test accuracy, %')
  return figure


def between(tasks, correlations) -> Figure:
  """Rank correlation between tasks: of sranks, and of accuracies."""
  figure = Figure(figsize=(13, 5.6), layout='constrained')
  names = list(tasks)
  for axes, kind in zip(figure.subplots(1, 2), (
      'sranks of two tasks', 'accuracies of two tasks'), strict=True):
    values = np.full((len(names), len(names)), np.nan)
    for row in correlations:
      if row['kind'] == kind and {row['task'], row['with']} <= set(names):
        i, j = names.index(row['task']), names.index(row['with'])
        values[i, j] = values[j, i] = row['spearman']
        for a, b in ((i, j), (j, i)):
          axes.text(
              a, b, f'{row["spearman"]:.2f}\n[{row["low"]:.2f}, '
              f'{row["high"]:.2f}]\n{row["edges"]} edges', ha='center',
              va='center', fontsize=8,
              color='white' if abs(row['spearman']) > 0.7 else 'black')
    shown = axes.imshow(values, cmap='RdBu', vmin=-1, vmax=1)
    figure.colorbar(shown, ax=axes, shrink=0.8).set_label('Spearman')
    axes.set(title=kind)
    axes.set_xticks(range(len(names)), names, rotation=20)
    axes.set_yticks(range(len(names)), names)
  return figure
