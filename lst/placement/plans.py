"""Sets of edges as arrays, which programs take as data."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int

from lst.placement.edges import Edge, passes


class Plan(NamedTuple):
  """A set of edges as arrays; adapter e is on the e-th of `edges.checked`.

  Attributes:
    source: the state that each adapter reads.
    bounds: of each state, the adapters that it is the target of: [forward from,
      to = sequential from, to = recurrent from, to).
    start: the block whose first state is the lowest adapted one, or the state
      ahead of it.
  """

  source: Int[Array | np.ndarray, ' e']
  bounds: Int[Array | np.ndarray, 'n 4']
  start: Int[Array | np.ndarray, '']


def plan(edges: Iterable[Edge], depth: int, count: int) -> Plan:
  """The arrays of edges, as `edges.checked` gives them.

  Args:
    edges: the set.
    depth: blocks L of the backbone.
    count: adapters that there are; those beyond the edges are left out.

  Raises:
    ValueError: there are more edges than adapters.

  >>> plan([Edge(0, 2), Edge(2, 2), Edge(4, 2)], depth=2, count=4).bounds[2]
  array([0, 1, 2, 3], dtype=int32)
  """
  edges = tuple(edges)
  if len(edges) > count:
    raise ValueError(
        f'{len(edges)} edges need as many adapters, and count={count}')
  source = np.zeros(count, np.int32)
  source[:len(edges)] = [edge.source for edge in edges]
  bounds = [
      [sum((e.target, e.source) < limit for e in edges) for limit in (
          (k, 0), (k, k), (k, k + 1), (k + 1, 0))]
      for k in range(2 * depth + 1)]
  start = passes(edges, depth).start // 2
  return Plan(source, np.array(bounds, np.int32), np.int32(start))
