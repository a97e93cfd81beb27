"""Draws every figure that there are runs for, and correlations.csv.

    python -m experiments.placement.plot
"""

import csv

from matplotlib.figure import Figure

from experiments.placement import plot_edges, results
from experiments.placement.plot_edges import panels
from experiments.placement.tasks import HERE


def sets(tasks) -> Figure:
  """Sets by chance, all of them, beside sets with a rule."""
  figure, places = panels(tasks, 5.4, 5.6)
  for axes, (task, figures) in places:
    random = figures['sets']
    axes.hist([r.test for r in random], bins=10, color='0.8',
              label=f'{len(random)} random sets')
    chosen = max(random, key=lambda r: r.val)
    axes.axvline(chosen.test, color='black', linestyle='--',
                 label=f'their best of validation {chosen.test:.1f}')
    named = results.by_name(figures.get('rules', []))
    order = sorted(named, key=lambda n: -results.mean(named[n])[0])
    top = axes.get_ylim()[1]
    for k, name in enumerate(order):
      test, error = results.mean(named[name])
      axes.errorbar(
          test, top * (1.1 + 0.1 * (len(order) - k)), xerr=error, fmt='o',
          capsize=2, color=f'C{k % 10}', label=f'{name} {test:.1f}')
    axes.set(title=task, xlabel='test accuracy, %', ylabel='random sets')
    axes.set_yticks([t for t in axes.get_yticks() if t <= top])
    axes.legend(
        fontsize=8, loc='upper center', bbox_to_anchor=(0.5, -0.14), ncols=3)
  return figure


def counts(tasks) -> Figure:
  """Gradient Guided Adapters of growing number beside sets by chance."""
  figure, places = panels(tasks)
  for axes, (task, figures) in places:
    named = results.by_name(figures['counts'])
    guided = sorted(
        (int(n.removeprefix('gga_')), results.mean(rows))
        for n, rows in named.items() if n.startswith('gga_'))
    axes.errorbar(
        [n for n, _ in guided], [m for _, (m, _) in guided],
        [e for _, (_, e) in guided], fmt='o-', capsize=2, label='GGA by srank')
    random = [
        (int(n.split('_')[1]), row.test)
        for n, rows in named.items() if n.startswith('random_')
        for row in rows] + [(12, row.test) for row in figures.get('sets', ())]
    if random:
      axes.plot(*zip(*random, strict=True), 'x', color='0.4',
                label='random sets, each')
    rules = results.by_name(figures.get('rules', []))
    for name, style in (('parallel', '--'), ('linear', ':')):
      if name in rules:
        axes.axhline(results.mean(rules[name])[0], color='0.5',
                     linestyle=style, label=name)
    axes.legend(fontsize=8)
    axes.set(title=task, xlabel='adapters N', xscale='log',
             ylabel='test accuracy, %')
    axes.set_xticks([1, 3, 6, 12, 24], [1, 3, 6, 12, 24])
    axes.minorticks_off()
  return figure


def bars(axes, named: dict[str, list[results.Row]], labels) -> None:
  """Accuracies by name, best on top."""
  order = sorted(named, key=lambda n: results.mean(named[n])[0])
  values = [results.mean(named[name]) for name in order]
  axes.errorbar([m for m, _ in values], range(len(order)),
                xerr=[e for _, e in values], fmt='o', capsize=3)
  axes.set_yticks(range(len(order)), [labels(n, named[n][0]) for n in order])
  axes.tick_params(axis='y', labelsize=8)
  axes.grid(axis='y', linewidth=0.3)


def controls(tasks) -> Figure:
  """What a second pass, its FLOPs and its parameters give by themselves."""
  figure, places = panels(tasks, 4.2, 6.2, across=2)
  for axes, (task, figures) in places:
    named = results.by_name(figures['controls'])
    linear = results.linear(figures)
    if linear:
      named['no adapter'] = [linear]
    bars(axes, named, lambda name, row: (
        f'{name.replace("_", " ")}  ({row.forwards:.2f} forwards, '
        f'{row.parameters / 1000:.0f} k)'))
    axes.set(title=task, xlabel='test accuracy, %')
  return figure


def transfer(tasks) -> Figure:
  """Twelve adapters where each task's scores put them."""
  figure, places = panels(tasks)
  for axes, (task, figures) in places:
    own = {
        f'own ({name})': rows for name, rows in results.by_name(
            figures.get('rules', [])).items() if name in ('gga', 'parallel')}
    bars(axes, results.by_name(figures['transfer']) | own,
         lambda name, row: name.replace('of_', 'placement of '))
    axes.set(title=task, xlabel='test accuracy, %')
  return figure


def taps(tasks) -> Figure:
  """A side network on few states against one on all of them."""
  figure, places = panels(tasks)
  for axes, (task, figures) in places:
    kinds = {}
    for name, rows in results.by_name(figures['taps']).items():
      kind, *count = name.split('_')
      if count:
        kinds.setdefault(kind, []).append((int(count[0]), results.mean(rows)))
      else:
        mean, error = results.mean(rows)
        axes.axhline(mean, color='black', linestyle='--',
                     label='all, after each block')
        axes.axhspan(mean - error, mean + error, color='0.9')
    for kind, found in kinds.items():
      found.sort()
      style = 'x' if kind == 'random' else 'o-'
      axes.errorbar([k for k, _ in found], [m for _, (m, _) in found],
                    [e for _, (_, e) in found], fmt=style, markersize=4,
                    capsize=2, label=kind)
    axes.legend(fontsize=8)
    axes.set(title=task, xlabel='taps k', xscale='log',
             ylabel='test accuracy, %')
    axes.set_xticks([1, 2, 4, 12], [1, 2, 4, 12])
    axes.minorticks_off()
  return figure


FIGURES = {
    'parallel': (plot_edges.parallel, ('parallel',)),
    'grid': (plot_edges.grid, ('grid',)),
    'scatter': (plot_edges.scatter, ('grid', 'scores')),
    'scores': (plot_edges.scores, ('scores',)),
    'sets': (sets, ('sets',)),
    'counts': (counts, ('counts',)),
    'controls': (controls, ('controls',)),
    'transfer': (transfer, ('transfer',)),
    'taps': (taps, ('taps',)),
    'between': (plot_edges.between, ('grid', 'scores')),
    'spearman': (plot_edges.spearman, ('grid', 'scores')),
}

CORRELATED = plot_edges.between, plot_edges.spearman


def main() -> None:
  """Draws what there is."""
  tasks = results.read()
  for task, figures in tasks.items():
    if results.scores(task):
      figures['scores'] = []
  found = results.correlations(tasks)
  for name, (draw, needed) in FIGURES.items():
    there = {
        task: figures for task, figures in tasks.items()
        if all(figure in figures for figure in needed)}
    if there:
      args = (there, found) if draw in CORRELATED else (there,)
      draw(*args).savefig(HERE / f'{name}.png', dpi=100)
  if found:
    with (HERE / 'correlations.csv').open('w', newline='') as file:
      rows = csv.DictWriter(file, found[0], lineterminator='\n')
      rows.writeheader()
      rows.writerows(found)


if __name__ == '__main__':
  main()
