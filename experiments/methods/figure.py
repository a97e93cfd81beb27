"""The tables and the figure: accuracy of every method against its costs.

    python -m experiments.methods.figure

reads tested.csv, tuned.csv, costs.csv and memory.csv and writes results.csv, a
line for every run with its costs, table.md, and one PNG for each suite.
"""

import argparse
import collections
import csv
import pathlib

import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot, ticker

from experiments.methods.averages import (
    COSTS,
    Costs,
    cost,
    costs_of,
    mean_costs,
    read,
)
from experiments.methods.methods import METHODS, backpropagates, under_tuned
from experiments.methods.run import point_of

HERE = pathlib.Path(__file__).parent
FIELDS = (
    'suite', 'task', 'group', 'method', 'seed', 'test_accuracy',
    'trainable_params', 'step_flops', 'peak_mib', 'step_ms', 'device',
    'memory_of')
# Side networks of LoSA, those of others, and what back-propagates.
COLOURS = {'losa': '#c2410c', 'side': '#2563a8', 'backprop': '#767676'}
MARKS = 'osD^v<>PXp'
Scores = dict[str, dict[str, dict[str, float]]]


def scores(rows: list[dict], suite: str) -> Scores:
  """{method: {task: {seed: test accuracy in %}}} of one suite."""
  out: Scores = collections.defaultdict(
      lambda: collections.defaultdict(dict))
  for row in rows:
    if row['suite'] == suite:
      out[row['method']][row['task']][row['seed']] = (
          100 * float(row['test_accuracy']))
  return out


def complete(found: Scores) -> Scores:
  """The methods that have as many tasks as the one with the most."""
  most = max((len(tasks) for tasks in found.values()), default=0)
  return {m: tasks for m, tasks in found.items() if len(tasks) == most}


def by_seed(tasks: dict[str, dict[str, float]]) -> np.ndarray:
  """The mean over tasks of each seed that all of them have, (S,)."""
  seeds = sorted(set.intersection(*(set(x) for x in tasks.values())))
  return np.array([
      np.mean([x[seed] for x in tasks.values()]) for seed in seeds])


def distance(found: Scores, rival: str) -> tuple[float, float, int, int]:
  """LoSA's mean over tasks less a rival's.

  Returns:
    The difference, its standard error over tasks, the tasks that LoSA wins,
    and all of them.
  """
  ours, theirs = found['losa'], found[rival]
  each = np.array([
      np.mean(list(ours[task].values())) - np.mean(list(theirs[task].values()))
      for task in ours])
  error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
  return each.mean(), error, int((each > 0).sum()), len(each)


def _number(value: float | None) -> str:
  if value is None:
    return '-'
  return f'{value:,.4g}' if value < 1e4 else f'{value:.3g}'


def suite_table(found: Scores, costs: dict[str, dict]) -> list[str]:
  """Markdown: each method's mean, spread over seeds, and costs; best first.

  Args:
    found: by `scores`.
    costs: by `mean_costs`.
  """
  lines = [
      '| method | backprop through the backbone | mean test accuracy, % | '
      + ' | '.join(COSTS.values()) + ' | with features kept, ms |',
      '|---' * (4 + len(COSTS)) + '|']
  means = {method: by_seed(tasks) for method, tasks in found.items()}
  for method in sorted(means, key=lambda m: -means[m].mean()):
    names = [method] + [n for n in costs if n.startswith(f'{method} +')]
    for name in names:
      cells = [_number(costs.get(name, {}).get(k))
               for k in (*COSTS, 'kept_step_ms')]
      through = 'yes' if backpropagates(METHODS[method]) else 'no'
      lines.append(
          f'| {name} | {through} | {means[method].mean():.1f} ± '
          f'{means[method].std():.1f} | ' + ' | '.join(cells) + ' |')
  return lines


def task_table(found: Scores) -> list[str]:
  """Markdown: the mean over seeds of every method on every task."""
  tasks = sorted({task for of in found.values() for task in of})
  lines = ['| method | ' + ' | '.join(tasks) + ' |',
           '|---' * (1 + len(tasks)) + '|']
  for method, of in found.items():
    cells = [f'{np.mean(list(of[task].values())):.1f}' if of.get(task) else '-'
             for task in tasks]
    lines.append(f'| {method} | ' + ' | '.join(cells) + ' |')
  return lines


def marks() -> dict[str, dict[str, str]]:
  """{method: its mark and colour}; one mark is of one method of a colour, and
  the same in every figure."""
  out, seen = {}, collections.Counter()
  for method, entry in METHODS.items():
    family = ('backprop' if backpropagates(entry) else
              'losa' if method.startswith('losa') else 'side')
    out[method] = {'marker': MARKS[seen[family]], 'color': COLOURS[family]}
    seen[family] += 1
  return out


def plot(found: Scores, costs: dict, path: pathlib.Path, title: str) -> None:
  """Accuracy against each cost, one panel for each, to a PNG."""
  figure, panels = pyplot.subplots(
      2, 2, figsize=(11.5, 8.2), sharey=True, layout='constrained')
  looks, means = marks(), {m: by_seed(tasks) for m, tasks in found.items()}
  best = sorted(means, key=lambda m: -means[m].mean())
  shown = [(name, method) for method in best
           for name in (method, f'{method} + remat') if name in costs]
  for panel, (cost_name, label) in zip(
      panels.flat, COSTS.items(), strict=True):
    for name, method in shown:
      value = costs[name].get(cost_name)
      again = name != method  # Rematerialised blocks change no accuracy.
      if value and not (again and value == costs[method].get(cost_name)):
        panel.errorbar(
            value, means[method].mean(), means[method].std(), capsize=2,
            linestyle='none', markersize=8, label=name, **looks[method],
            markerfacecolor='white' if again else None)
    panel.set(xscale='log', xlabel=label)
    panel.grid(alpha=0.3)
    panel.margins(x=0.1)
    few = np.divide(*panel.get_xlim()[::-1]) < 100
    panel.xaxis.set_major_locator(
        ticker.LogLocator(subs=(1, 2, 3, 5) if few else (1,)))
    panel.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
  figure.supylabel('mean test accuracy, %')
  figure.suptitle(
      f'{title}. Orange: LoSA; blue: other side networks; grey: backprop '
      'through the backbone (hollow: rematerialised)')
  entries = dict(pair for panel in panels.flat for pair in zip(
      *panel.get_legend_handles_labels()[::-1], strict=True))
  figure.legend(
      [entries[name] for name, _ in shown if name in entries],
      [name for name, _ in shown if name in entries],
      loc='outside right center', frameon=False, title='best first')
  figure.savefig(path, dpi=110)
  pyplot.close(figure)


def edges(tuned: list[dict]) -> list[str]:
  """'suite/task/method' of each search whose best rate lies at an end."""
  searches = collections.defaultdict(dict)
  for row in tuned:
    key = row['suite'], row['task'], row['method']
    point = point_of(row, METHODS[row['method']])
    searches[key][point] = float(row['val_accuracy'])
  return ['/'.join(key) for key, tried in searches.items()
          if under_tuned(tried)]


def with_costs(row: dict, costs: Costs) -> dict[str, str]:
  """A line of results.csv: a run, and what a step of it costs."""
  of = cost(costs, row['method'], row['option'])
  # Parameters are those of the run: heads differ from task to task.
  known = of | {'memory_of': of.get('compiled_for', '')} | row
  return {field: known.get(field, '') for field in FIELDS}


def write(path: pathlib.Path, rows: list[dict[str, str]]) -> None:
  """`FIELDS` of every row to a CSV."""
  with path.open('w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)


def report(results: pathlib.Path) -> str:
  """The text of table.md; writes results.csv and a figure for each suite."""
  rows, costs = read(results / 'tested.csv'), costs_of(results)
  write(results / 'results.csv', [with_costs(row, costs) for row in rows])
  text = []
  for suite in dict.fromkeys(row['suite'] for row in rows):
    every = scores(rows, suite)
    found = complete(every)
    count = max(len(tasks) for tasks in found.values())
    means = mean_costs(rows, costs, suite)
    text += [f'## {suite}: {count} tasks', '', *suite_table(found, means), '']
    for rival in found:
      if rival != 'losa' and 'losa' in found:
        gap, error, wins, of = distance(found, rival)
        text.append(
            f'- LoSA less {rival}: {gap:+.1f} points, standard error over '
            f'tasks {error:.1f}; above it on {wins} of {of}')
    text += ['', *task_table(every), '']
    plot(found, means, results / f'figure_{suite}.png',
         f'{suite}, {count} tasks')
  late = edges(read(results / 'tuned.csv'))
  text.append(
      f'Searches whose best rate has no neighbour tried: {len(late)}'
      + (f' ({", ".join(late)})' if late else ''))
  return '\n'.join(text) + '\n'


def main(argv: list[str] | None = None) -> None:
  """Writes results.csv, table.md and the figures."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--results', type=pathlib.Path, default=HERE)
  args = parser.parse_args(argv)
  (args.results / 'table.md').write_text(report(args.results))


if __name__ == '__main__':
  main()
