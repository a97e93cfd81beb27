"""Edges between the states of a backbone, and the passes that they take."""

import numbers
from collections.abc import Iterable
from typing import Any, NamedTuple


class Edge(NamedTuple):
  """An adapter that reads state `source` and adds to state `target`.

  States are those of `lst.backbones.vit.ViT`: 0 is the embedding, 2l + 1 is
  block l after attention, 2l + 2 the same after its MLP.

  >>> [Edge(*e).kind for e in [(3, 4), (3, 3), (1, 4), (4, 1)]]
  ['parallel', 'sequential', 'long-range', 'recurrent']
  """

  source: int
  target: int

  @property
  def kind(self) -> str:
    """'parallel' (i, i + 1), 'sequential' (i, i), 'long-range' or 'recurrent'.

    A long-range edge goes forward past at least one layer. A recurrent one goes
    back: it reads the state that a plain first pass had.
    """
    if self.source > self.target:
      return 'recurrent'
    steps = self.target - self.source
    return ('sequential', 'parallel', 'long-range')[min(steps, 2)]

  @property
  def name(self) -> str:
    """'3_5', the name of its parameters."""
    return f'{self.source}_{self.target}'


def checked(edges: Iterable[Any], depth: int) -> tuple[Edge, ...]:
  """The edges in order, by target and then by source.

  Args:
    edges: pairs (source, target).
    depth: blocks L of the backbone.

  Raises:
    ValueError: something is no pair of integers, no state of this backbone, or
      there twice; says which.

  >>> checked([(5, 2), (0, 1)], depth=3)
  (Edge(source=0, target=1), Edge(source=5, target=2))
  """
  out = []
  for pair in edges:
    pair = tuple(pair) if isinstance(pair, Iterable) else (pair,)
    whole = all(isinstance(state, numbers.Integral) for state in pair)
    if len(pair) != 2 or not whole:
      raise ValueError(
          f'{pair} is no edge: write (source, target), two whole numbers')
    edge = Edge(*map(int, pair))
    if not 0 <= min(edge) <= max(edge) <= 2 * depth:
      raise ValueError(
          f'{edge} is outside this backbone: its states run from 0 to '
          f'{2 * depth}')
    out.append(edge)
  twice = sorted({edge for edge in out if out.count(edge) > 1})
  if twice:
    raise ValueError(
        f'{", ".join(map(str, twice))} stands more than once: one adapter an '
        'edge')
  return tuple(sorted(out, key=lambda edge: (edge.target, edge.source)))


class Passes(NamedTuple):
  """What of the backbone a set of edges runs, and runs again.

  Attributes:
    start: the lowest adapted state: below it the second pass would repeat the
      first, so it starts there.
    kept: the states that the first, plain pass hands over, in order: `start`
      itself, the sources of recurrent edges, those of others below `start`.
      No parameter touches them.
    stop: the highest of these, where the first pass ends.
  """

  start: int
  kept: tuple[int, ...]
  stop: int


def passes(edges: Iterable[Edge], depth: int) -> Passes:
  """The passes that edges take; without any, one plain pass to the end.

  One step has two passes at most, whatever the number of edges.

  >>> passes([Edge(5, 2), Edge(1, 4)], depth=4)
  Passes(start=2, kept=(1, 2, 5), stop=5)
  >>> passes([Edge(5, 6), Edge(6, 6)], depth=4)
  Passes(start=6, kept=(5, 6), stop=6)
  """
  edges = tuple(edges)
  start = min((edge.target for edge in edges), default=2 * depth)
  kept = {start} | {
      edge.source for edge in edges
      if edge.kind == 'recurrent' or edge.source < start}
  return Passes(start, tuple(sorted(kept)), max(kept))


def everything(depth: int) -> tuple[Edge, ...]:
  """All (2L + 1)^2 edges of a backbone."""
  states = range(2 * depth + 1)
  return tuple(Edge(i, j) for i in states for j in states)


def parallel(depth: int) -> tuple[Edge, ...]:
  """An adapter beside each of the 2L layers."""
  return tuple(Edge(i, i + 1) for i in range(2 * depth))


def sequential(depth: int) -> tuple[Edge, ...]:
  """An adapter after each of the 2L layers."""
  return tuple(Edge(i, i) for i in range(1, 2 * depth + 1))
