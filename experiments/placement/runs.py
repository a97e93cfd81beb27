"""The runs of every figure: names, edges, and what else differs."""

from typing import NamedTuple

import numpy as np

from experiments.placement.tasks import HERE
from lst import placement
from lst.placement import Asked, Edge, select

DEPTH, COUNT = 12, 12
PLACED = (1e-2, 3e-2)
# Rates to choose from on validation, of each kind of run.
RATES = {
    'single': (*PLACED, 1e-1), 'set': PLACED, 'parallel': PLACED,
    'sequential': PLACED, 'linear': (1e-2, 3e-2, 1e-1, 3e-1), 'side': PLACED,
    'lora': (3e-3, *PLACED), 'full': (3e-4, 1e-3, 3e-3)}


class Run(NamedTuple):
  """One run.

  Attributes:
    name: within its figure.
    edges: of the adapters; of taps, the states.
    kind: whose rate it takes, a key of `RATES`.
    program: a key of `run.PROGRAMS`, and what follows it.
    seed: of the parameters and the order.
  """

  name: str
  edges: tuple = ()
  kind: str = 'set'
  program: tuple = ('adapters',)
  seed: int = 0


def single(edges) -> list[Run]:
  """One adapter each."""
  return [Run(edge.name, (edge,), 'single') for edge in edges]


def parallel(task: str) -> list[Run]:
  """One adapter beside each layer."""
  del task
  rows = placement.parallel(DEPTH)
  return single((*rows[::2], *rows[1::2]))


def grid(step: int) -> list[Run]:
  """One adapter on every edge between each `step`-th state."""
  states = range(0, 2 * DEPTH + 1, step)
  return single(Edge(i, j) for i in states for j in states)


def guided(task: str, count: int, score: str = 'srank', **changes) -> tuple:
  """The edges that Gradient Guided Adapters choose for a task."""
  with np.load(HERE / f'scores_{task}.npz') as scores:
    return select('gga', Asked(DEPTH, count, scores[score], **changes))


def random(count: int, seed: int) -> tuple:
  """So many edges by chance."""
  return select('random', Asked(DEPTH, count, seed=seed))


def of_kinds() -> dict[str, list[Run]]:
  """What the rate of each kind is chosen by."""
  whole = {
      name: [Run(name, select(name, Asked(DEPTH, COUNT)), name)]
      for name in ('parallel', 'sequential')}
  return {
      'single': single((Edge(6, 7),)),
      'set': [Run('random_0', random(COUNT, 0))], **whole,
      'linear': [Run('linear', (), 'linear')],
      'lora': [Run('lora', (), 'lora', ('rival', 'lora'))],
      'full': [Run('full', (), 'full', ('rival', 'full'))],
      'side': [taps('all', tuple(range(2, 2 * DEPTH + 1, 2)))]}


def seeds(runs: list[Run], count: int) -> list[Run]:
  """The same with several seeds."""
  return [run._replace(seed=seed) for seed in range(count) for run in runs]


def rules(task: str) -> list[Run]:
  """Sets of `COUNT` edges by a rule, rows of adapters, and other methods."""
  asked = Asked(DEPTH, COUNT)
  kinds = of_kinds()
  return seeds([
      *(kinds[kind][0] for kind in (
          'parallel', 'sequential', 'lora', 'full', 'linear')),
      Run('gga', guided(task, COUNT)),
      Run('gga_nuclear', guided(task, COUNT, 'nuclear')),
      Run('top', guided(task, COUNT, gamma=0.0)),
      Run('first', select('first', asked)),
      Run('last', select('last', asked))], 2)


def sets(task: str) -> list[Run]:
  """Sets of `COUNT` edges by chance."""
  del task
  return [Run(f'random_{seed}', random(COUNT, seed)) for seed in range(100)]


def counts(task: str) -> list[Run]:
  """Gradient Guided Adapters of growing number beside sets by chance."""
  out = []
  for count in (1, 3, 6, 12, 24):
    kind = 'single' if count == 1 else 'set'
    out.append(Run(f'gga_{count}', guided(task, count), kind))
    # Those of 12 are among the sets.
    out += [
        Run(f'random_{count}_{seed}', random(count, seed), kind)
        for seed in range(2) if count != COUNT]
  return out


def transfer(task: str) -> list[Run]:
  """The placements of all tasks with scores."""
  del task
  names = [path.stem.removeprefix('scores_')
           for path in sorted(HERE.glob('scores_*.npz'))]
  return seeds([Run(f'of_{name}', guided(name, COUNT)) for name in names], 2)


def controls(task: str) -> list[Run]:
  """What a second pass, its FLOPs and its parameters give by themselves."""
  rows = select('parallel', Asked(DEPTH, COUNT))
  back = (Edge(24, 0), Edge(24, 12), Edge(12, 0))
  # Of 24 adapters of rank 4, and 12 of rank 8, the parameters are the same.
  return [
      Run(f'unlearned_{edge.name}_{alpha:g}', (edge,), 'linear',
          ('unlearned', alpha))
      for alpha in (0.1, 1.0) for edge in back] + seeds([
          Run('parallel_rank_4', rows, 'parallel', ('adapters', 4)),
          # More tokens in place of a second pass.
          Run('parallel_40_px', rows, 'parallel', ('adapters', 8, 40)),
          Run('gga', guided(task, COUNT)),
          Run('parallel', rows, 'parallel')], 2)


def taps(name: str, states: tuple) -> Run:
  """LoSA with a block on each of some states."""
  return Run(name, states, 'side', ('taps', len(states)))


def tapped(task: str) -> list[Run]:
  """Few taps, chosen, by chance, evenly or late, against all of them."""
  with np.load(HERE / f'taps_{task}.npz') as scores:
    scores = dict(scores)
  last, rng = 2 * DEPTH, np.random.default_rng(0)
  out = [of_kinds()['side'][0]]
  for count in (1, 2, 4, 12):
    out += [
        taps(f'{score}_{count}', tuple(
            i for i, _ in placement.tap_map(values, count)))
        for score, values in scores.items() if score in ('srank', 'nuclear')]
    even = np.linspace(0, last, count + 1)[1:].round().astype(int)
    out.append(taps(f'even_{count}', tuple(even.tolist())))
    out.append(taps(
        f'late_{count}', tuple(range(last - 2 * count + 2, last + 1, 2))))
    out += [
        taps(f'random_{count}_{k}', (*sorted(
            rng.choice(last, count - 1, replace=False).tolist()), last))
        for k in range(2) if count > 1]
  return seeds(out, 2)


FIGURES = {
    'parallel': parallel,
    'grid': lambda task: grid(6),
    'fine': lambda task: grid(4),
    'rules': rules,
    'sets': sets,
    'counts': counts,
    'transfer': transfer,
    'controls': controls,
    'taps': tapped,
}
