"""Which edges to take: by their scores, by chance, or by where they are."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lst.placement.edges import Edge, checked, everything, parallel, sequential

# Scores this near to each other, relatively, tie: products taken in another
# order differ by so much.
TIE = 1e-12


class Asked(NamedTuple):
  """What a selection may look at.

  Attributes:
    depth: blocks L of the backbone.
    count: edges to choose, at most.
    scores: of all edges, [source, target].
    gamma: an edge chosen k steps away leaves 1 - gamma^k of a score.
    forwards: edges -> the plain forward passes that a prediction takes.
    cost: a score is divided by 1 + cost times the extra passes of its edge.
    least: ends at a score below this part of the first.
    rescore: edges chosen so far -> new scores; None = they are taken once.
    seed: of what is left to chance.
    given: edges that someone chose.
  """

  depth: int
  count: int
  scores: Float[np.ndarray, 'n n'] | None = None
  gamma: float = 0.6
  forwards: Callable[[Iterable[Edge]], float] = lambda edges: 1.0
  cost: float = 0.0
  least: float = 0.0
  rescore: Callable[[tuple[Edge, ...]], np.ndarray] | None = None
  seed: int = 0
  given: tuple[tuple[int, int], ...] = ()


def gradient_guided(asked: Asked) -> tuple[Edge, ...]:
  """Gradient Guided Adapters (Nowak et al., 2024), in the order of choice.

  The highest score is taken, and every other is multiplied by 1 - gamma^k, k
  being its distance |i - i'| + |j - j'| to the edge just taken; gamma = 0
  leaves all others. Of equals the least extra passes go first, then the
  smallest edge (our choice). Ends early when no score above zero is left.
  """
  _check(asked)
  sources, targets = np.indices(asked.scores.shape)
  scores, left = asked.scores, np.ones(asked.scores.shape)
  chosen, first = [], None
  while len(chosen) < asked.count:
    edge, value = _best(scores * left, tuple(chosen), asked)
    first = value if first is None else first
    if value <= 0 or value < asked.least * first:
      break
    chosen.append(edge)
    steps = abs(sources - edge.source) + abs(targets - edge.target)
    left *= 1.0 - float(asked.gamma) ** steps
    if asked.rescore and len(chosen) < asked.count:
      scores = asked.rescore(tuple(chosen))
  return tuple(chosen)


def _best(values, chosen, asked: Asked) -> tuple[Edge, float]:
  """The edge of the highest value, and that value."""
  now = asked.forwards(chosen) if chosen else 1.0

  def extra(edge):
    return asked.forwards((*chosen, edge)) - now

  if asked.cost:
    values = values.copy()
    for edge in zip(*map(np.ndarray.tolist, np.nonzero(values)), strict=True):
      values[edge] /= 1.0 + asked.cost * max(0.0, extra(Edge(*edge)))
  value = values.max()
  equal = np.argwhere(values >= value * (1.0 - TIE)).tolist()
  if value <= 0 or len(equal) == 1:
    return Edge(*equal[0]), value
  return min((Edge(*e) for e in equal), key=lambda e: (extra(e), e)), value


def _check_gamma(gamma: float) -> None:
  # 1 would leave nothing of any score once the first is taken.
  if not 0 <= gamma < 1:
    raise ValueError(f'gamma={gamma} has to be from 0 to below 1')


def _check(asked: Asked) -> None:
  _check_gamma(asked.gamma)
  if asked.cost < 0 or not 0 <= asked.least <= 1:
    raise ValueError(
        f'cost={asked.cost} has to be 0 or more, and least={asked.least} from '
        '0 to 1')
  nodes = 2 * asked.depth + 1
  if asked.scores is None or asked.scores.shape != (nodes, nodes):
    raise ValueError(f'scores have to be of {nodes} x {nodes} edges')
  if not np.isfinite(asked.scores).all():
    raise ValueError('a score is no number: the gradients overflowed')


def tap_map(
    scores: Float[np.ndarray, 'n m'], count: int, gamma: float = 0.6
) -> tuple[tuple[int, int], ...]:
  """(state, side block) of each of `count` taps, in the order of the blocks.

  As `gradient_guided`, over edges from n states to the m blocks of a side
  network that was trained with all of them; a block is given one state. A side
  network adds what it learns to the last state, so that ends every map.

  Raises:
    ValueError: `gamma` is not from 0 to below 1.

  >>> tap_map(np.array([[1., 0.], [3., 0.], [0., 2.]]), count=2)
  ((1, 0), (2, 1))
  """
  _check_gamma(gamma)
  states, blocks = np.indices(scores.shape)
  left, taken = scores.astype(np.float64), {}
  while len(taken) < min(count, scores.shape[1]):
    state, block = np.unravel_index(np.argmax(left), left.shape)
    if left[state, block] <= 0:
      break
    taken[int(block)] = int(state)
    left *= 1.0 - float(gamma) ** (abs(states - state) + abs(blocks - block))
    left[:, block] = 0.0
  chosen = [(taken[block], block) for block in sorted(taken)]
  state, block = len(scores) - 1, scores.shape[1] - 1
  if not chosen or chosen[-1][0] != state:
    chosen = [*chosen[:count - 1], (state, block)]
  return tuple(chosen)


def random(asked: Asked) -> tuple[Edge, ...]:
  """So many of all (2L + 1)^2 edges, each as likely as any other.

  >>> random(Asked(depth=2, count=2, seed=1))
  (Edge(source=2, target=1), Edge(source=2, target=2))
  """
  every = everything(asked.depth)
  if asked.count > len(every):
    raise ValueError(f'there are {len(every)} edges, not {asked.count}')
  rng = np.random.default_rng(asked.seed)
  taken = rng.choice(len(every), asked.count, replace=False)
  return tuple(every[i] for i in taken)


def _given(asked: Asked) -> tuple[Edge, ...]:
  if not asked.given:
    raise ValueError('there are no given edges: set config.placement.edges')
  return checked(asked.given, asked.depth)


SELECTIONS: dict[str, Callable[[Asked], tuple[Edge, ...]]] = {
    'gga': gradient_guided,
    'top': lambda asked: gradient_guided(
        asked._replace(gamma=0.0, least=0.0, rescore=None)),
    'random': random,
    'first': lambda asked: parallel(asked.depth)[:asked.count],
    'last': lambda asked: parallel(asked.depth)[-asked.count:],
    'parallel': lambda asked: parallel(asked.depth),
    'sequential': lambda asked: sequential(asked.depth),
    'given': _given,
}


# Those that look at the scores.
BY_SCORE = ('gga', 'top')


def select(name: str, asked: Asked) -> tuple[Edge, ...]:
  """The edges that a selection takes; by score or chance, in that order.

  Raises:
    ValueError: `name` is no selection, or what was asked for cannot be.
  """
  if name not in SELECTIONS:
    raise ValueError(
        f'{name!r} is no selection: choose one of {", ".join(SELECTIONS)}')
  if asked.count < 1:
    raise ValueError(f'count={asked.count} has to be at least 1')
  return SELECTIONS[name](asked)
