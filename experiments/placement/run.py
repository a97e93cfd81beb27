"""Trains the placements of every figure, to results.csv; goes on where it was.

    python -m experiments.placement.run --task=digits --figure=parallel
    python -m experiments.placement.run --task=gtsrb --data=DIR --figure=grid

`--figure=scores` is what most others choose by: it comes first.
"""

import argparse
import csv
import json
import pathlib
import time
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.placement import train
from lst import placement, search
from lst.placement import Asked, select

HERE = pathlib.Path(__file__).parent
FIELDS = (
    'task', 'figure', 'name', 'edges', 'seed', 'val_accuracy', 'test_accuracy',
    'parameters', 'forwards', 'seconds')
DEPTH, COUNT = 12, 12


class Run(NamedTuple):
  """One run: its edges, and fields that differ from those of all others."""

  name: str
  edges: tuple
  fields: Mapping[str, Any] = types.MappingProxyType({})


def single(edges) -> list[Run]:
  """One adapter each."""
  return [Run(edge.name, (edge,)) for edge in edges]


def grid(step: int) -> list:
  """One adapter on every edge between each `step`-th state."""
  states = range(0, 2 * DEPTH + 1, step)
  return single(placement.Edge(i, j) for i in states for j in states)


def guided(task: str, count: int, score: str = 'srank', **changes) -> tuple:
  """The edges that Gradient Guided Adapters choose for a task."""
  scores = np.load(HERE / f'spectra_{task}.npz')[score]
  return select('gga', Asked(DEPTH, count, scores, **changes))


def sets(task: str) -> list[Run]:
  """Sets of `COUNT` edges, and whole rows of adapters."""
  asked = Asked(DEPTH, COUNT)
  out = [
      Run('linear', ()), Run('parallel', select('parallel', asked)),
      Run('sequential', select('sequential', asked)),
      Run('first', select('first', asked)), Run('last', select('last', asked)),
      Run('top', guided(task, COUNT, gamma=0.0)),
      Run('gga', guided(task, COUNT)),
      Run('nuclear', guided(task, COUNT, score='nuclear'))]
  return out + [
      Run(f'random_{seed}', select('random', asked._replace(seed=seed)))
      for seed in range(100)]


def rivals(task: str) -> list[Run]:
  """LoRA and full fine-tuning at a few rates, to choose on validation."""
  del task
  rates = {'lora': (1e-3, 5e-3, 2e-2), 'full': (1e-4, 3e-4, 1e-3)}
  return [
      Run(f'{method}_{rate:g}', (), {'method': method, 'optimizer.lr': rate})
      for method, of_method in rates.items() for rate in of_method]


def counts(task: str) -> list[Run]:
  """Gradient Guided Adapters of growing number."""
  return [Run(f'gga_{n}', guided(task, n)) for n in (1, 3, 6, 12, 24)]


def transfer(task: str) -> list[Run]:
  """The placements of all tasks with scores."""
  del task
  names = [path.stem.removeprefix('spectra_')
           for path in sorted(HERE.glob('spectra_*.npz'))]
  return [Run(f'of_{name}', guided(name, COUNT)) for name in names]


def controls(task: str) -> list[Run]:
  """What a second pass, its FLOPs and its parameters give by themselves."""
  del task
  asked = Asked(DEPTH, COUNT)
  parallel = select('parallel', asked)
  back = tuple(
      placement.Edge(i, j) for i, j in ((24, 0), (16, 8), (12, 0), (24, 12)))
  return [
      Run(f'unlearned_{edge.name}_{alpha:g}', (edge,),
          {'placement.rank': 0, 'placement.alpha': alpha})
      for edge in back for alpha in (0.1, 1.0)] + [
          # As many parameters as 12 adapters of rank 8, in 24 of rank 4.
          Run('parallel_rank_4', parallel, {'placement.rank': 4}),
          # More tokens in place of a second pass.
          Run('parallel_40_px', parallel, {'backbone.image_size': 40}),
          Run('parallel_48_px', parallel, {'backbone.image_size': 48})]


FIGURES = {
    'parallel': lambda task: single(placement.parallel(DEPTH)),
    'grid': lambda task: grid(4),
    'coarse': lambda task: grid(8),
    'sets': sets,
    'rivals': rivals,
    'counts': counts,
    'transfer': transfer,
    'controls': controls,
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
  parser.add_argument('--first', type=int, default=0, help='run to begin with')
  parser.add_argument('--most', type=int, default=1000, help='runs at most')
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  if args.figure == 'scores':
    scores(args.task, args.data)
    return
  path = HERE / f'results_{args.task}.csv'
  task, new = train.Task(args.task, args.data), not path.exists()
  runs = FIGURES[args.figure](args.task)[args.first:][:args.most]
  for name, edges, fields in runs:
    # Looked at each time: several processes may share a figure.
    if (args.task, args.figure, name, str(args.seed)) in done(path):
      continue
    result = task.run(edges, args.seed, fields)
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
