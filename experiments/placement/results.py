"""Reads results_*.csv and scores_*.npz; rank correlations with confidence."""

import csv
import itertools
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.placement.tasks import HERE
from lst.placement import SCORES

TESTED = 600
ONE = ('grid', 'fine', 'parallel')


class Row(NamedTuple):
  """A run; accuracies in %."""

  name: str
  seed: int
  val: float
  test: float
  parameters: int
  forwards: float
  edges: tuple
  lr: float
  val_loss: float

  @property
  def error(self) -> float:
    """Standard error of the test accuracy, by the number of test images."""
    return 100 * (self.test / 100 * (1 - self.test / 100) / TESTED) ** 0.5


def read() -> dict[str, dict[str, list[Row]]]:
  """{task: {figure: its runs}}."""
  out = {}
  for path in sorted(HERE.glob('results_*.csv')):
    of_task = out.setdefault(path.stem.removeprefix('results_'), {})
    with path.open() as file:
      for row in csv.DictReader(file):
        edges = tuple(
            tuple(map(int, e.split('-'))) for e in row['edges'].split())
        of_task.setdefault(row['figure'], []).append(Row(
            row['name'], int(row['seed']), 100 * float(row['val_accuracy']),
            100 * float(row['test_accuracy']), int(row['parameters']),
            float(row['forwards']), edges, float(row['lr']),
            float(row['val_loss'])))
  return out


def scores(task: str, what: str = 'scores') -> dict[str, np.ndarray]:
  """The scores of a task by name, [source, target]; {} if not taken."""
  path = HERE / f'{what}_{task}.npz'
  if not path.exists():
    return {}
  with np.load(path) as found:
    return dict(found)


def ones(figures: dict[str, list[Row]], *names: str) -> dict[tuple, Row]:
  """The runs of one adapter, by its edge."""
  return {
      row.edges[0]: row for name in names or ONE
      for row in figures.get(name, ()) if len(row.edges) == 1}


def linear(figures: dict[str, list[Row]]) -> Row | None:
  """The head alone, at the rate of the least validation loss."""
  return min(
      figures.get('rates_linear', ()), key=lambda row: row.val_loss,
      default=None)


def mean(rows: list[Row]) -> tuple[float, float]:
  """(mean test accuracy of the seeds, standard error).

  The error is that of the test images, or that of the seeds if it is larger.
  """
  test = [row.test for row in rows]
  spread = np.std(test, ddof=1) / len(test) ** 0.5 if len(test) > 1 else 0.0
  return float(np.mean(test)), max(rows[0].error, float(spread))


def by_name(rows: list[Row]) -> dict[str, list[Row]]:
  """The seeds of each run."""
  out = {}
  for row in rows:
    out.setdefault(row.name, []).append(row)
  return out


def spearman(x, y, draws: int = 1000) -> tuple[float, float, float, float]:
  """(rho, lower and upper bound of 95 % by bootstrap over edges, p)."""
  x, y = np.asarray(x, float), np.asarray(y, float)
  rows = np.random.default_rng(0).integers(len(x), size=(draws, len(x)))
  ranks = [stats.rankdata(values[rows], axis=1) for values in (x, y)]
  a, b = (r - r.mean(1, keepdims=True) for r in ranks)
  norm = np.sqrt(np.sum(a * a, 1) * np.sum(b * b, 1))
  drawn = np.sum(a * b, 1)[norm > 0] / norm[norm > 0]
  found = stats.spearmanr(x, y)
  low, high = np.percentile(drawn, [2.5, 97.5])
  return found.statistic, low, high, found.pvalue


def correlations(tasks) -> list[dict]:
  """Of each score with accuracy, and between the tasks."""
  out = []
  tasks = {t: figures for t, figures in tasks.items() if ones(figures)}

  def add(kind, task, other, x, y):
    rho, low, high, p = spearman(x, y)
    out.append({
        'kind': kind, 'task': task, 'with': other, 'edges': len(x),
        'spearman': round(rho, 3), 'low': round(low, 3),
        'high': round(high, 3), 'p': f'{p:.2g}'})

  for task, figures in tasks.items():
    found, of_task = ones(figures), scores(task)
    if len(found) > 8 and of_task:
      for name in SCORES:
        add('score and accuracy', task, name,
            [of_task[name][e] for e in found], [r.test for r in found.values()])
  for one, two in itertools.combinations(tasks, 2):
    a, b = ones(tasks[one]), ones(tasks[two])
    both = sorted(a.keys() & b.keys())
    if len(both) > 8:
      add('accuracies of two tasks', one, two,
          [a[e].test for e in both], [b[e].test for e in both])
    if scores(one) and scores(two):
      x, y = (scores(t)['srank'].ravel() for t in (one, two))
      add('sranks of two tasks', one, two, x, y)
  return out
