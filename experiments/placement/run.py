"""Trains the placements of every figure, to results.csv; goes on where it was.

    python -m experiments.placement.run --task=digits --figure=parallel
    python -m experiments.placement.run --task=gtsrb --data=DIR --figure=grid

`--figure=scores` is what `sets` and `transfer` choose by: it comes first.
"""

import argparse
import csv
import json
import pathlib
import time

import numpy as np

from experiments.placement import train
from lst import placement, search
from lst.placement import Asked, select

HERE = pathlib.Path(__file__).parent
FIELDS = (
    'task', 'figure', 'name', 'edges', 'seed', 'val_accuracy', 'test_accuracy',
    'forwards', 'seconds')
DEPTH, COUNT = 12, 12


def single(edges) -> list:
  """(name, edges) of one adapter each."""
  return [(edge.name, (edge,)) for edge in edges]


def grid(step: int) -> list:
  """One adapter on every edge between each `step`-th state."""
  states = range(0, 2 * DEPTH + 1, step)
  return single(placement.Edge(i, j) for i in states for j in states)


def guided(task: str, count: int, **changes) -> tuple:
  """The edges that Gradient Guided Adapters choose for a task."""
  scores = np.load(HERE / f'spectra_{task}.npz')['srank']
  return select('gga', Asked(DEPTH, count, scores, **changes))


def sets(task: str) -> list:
  """Sets of `COUNT` edges, and whole rows of adapters."""
  asked = Asked(DEPTH, COUNT)
  out = [
      ('linear', ()), ('parallel', select('parallel', asked)),
      ('sequential', select('sequential', asked)),
      ('first', select('first', asked)), ('last', select('last', asked)),
      ('top', guided(task, COUNT, gamma=0.0)), ('gga', guided(task, COUNT))]
  return out + [
      (f'random_{seed}', select('random', asked._replace(seed=seed)))
      for seed in range(100)]


def counts(task: str) -> list:
  """Gradient Guided Adapters of growing number."""
  return [(f'gga_{n}', guided(task, n)) for n in (1, 3, 6, 12, 24)]


def transfer(task: str) -> list:
  """The placements of other tasks."""
  others = sorted(HERE.glob('spectra_*.npz'))
  names = [path.stem.removeprefix('spectra_') for path in others]
  return [(f'of_{name}', guided(name, COUNT)) for name in names]


FIGURES = {
    'parallel': lambda task: single(placement.parallel(DEPTH)),
    'grid': lambda task: grid(4),
    'coarse': lambda task: grid(8),
    'sets': sets,
    'counts': counts,
    'transfer': transfer,
}


def scores(task: str, data: str) -> None:
  """All scores of a task by `lst.search`, to scores_TASK.png and .npz."""
  config = train.config_of(task, data)
  config.search.count, config.search.batches = COUNT, 4
  started = time.monotonic()
  found = search.search(config)
  values = {
      name: placement.scored(found.spectra, name) for name in placement.SCORES}
  np.savez_compressed(HERE / f'spectra_{task}.npz', **values)
  search.picture(
      found.scores, found.edges, f'srank on {task}').savefig(
          HERE / f'scores_{task}.png', dpi=100)
  print(json.dumps({
      'task': task, 'seconds': time.monotonic() - started, **found.facts}))


def done(path: pathlib.Path) -> set:
  """The (task, figure, name, seed) that a CSV has already."""
  if not path.exists():
    return set()
  with path.open() as file:
    return {tuple(row[f] for f in ('task', 'figure', 'name', 'seed'))
            for row in csv.DictReader(file)}


def main() -> None:
  """Runs one figure of one task."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--task', default='digits')
  parser.add_argument('--data', default='', help='folder of ready tasks')
  parser.add_argument('--figure', choices=('scores', *FIGURES), required=True)
  parser.add_argument('--most', type=int, default=1000, help='runs at most')
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  if args.figure == 'scores':
    scores(args.task, args.data)
    return
  path = HERE / f'results_{args.task}.csv'
  task, new = train.Task(args.task, args.data), not path.exists()
  for name, edges in FIGURES[args.figure](args.task)[:args.most]:
    # Looked at each time: several processes may share a figure.
    if (args.task, args.figure, name, str(args.seed)) in done(path):
      continue
    result = task.run(edges, args.seed)
    with path.open('a', newline='') as file:
      rows = csv.writer(file, lineterminator='\n')
      if new:
        rows.writerow(FIELDS)
      new = False
      written = ' '.join(f'{i}-{j}' for i, j in edges)
      rows.writerow((
          args.task, args.figure, name, written, args.seed, *(
              result[field] for field in FIELDS[5:])))
    print(args.figure, name, result, flush=True)


if __name__ == '__main__':
  main()
