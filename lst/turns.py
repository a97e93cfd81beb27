"""One step for each of many blocks, in a scan where the blocks take turns."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

# Blocks whose kinds take turns: of channels, space and time, and some room.
LONGEST = 6

# (what is carried, number of the block, what the block is given) -> (what is
# carried, what the block gives).
Step = Callable[[Any, Any, Any], tuple[Any, Any]]


class Turns(NamedTuple):
  """Some blocks in a row: `count` times the same `period` kinds.

  Attributes:
    start: number of the first block.
    period, count: so that there are `period * count` blocks.
  """

  start: int
  period: int
  count: int


# A run of blocks and what they give: `period` trees, whose arrays have a
# leading axis of `count`.
Found = tuple[Turns, list[Any]]


def turns(given: Sequence[Any]) -> list[Turns]:
  """Blocks in as few runs as a search from the first block on finds.

  Args:
    given: to each block, a tree of arrays; those of blocks that take turns have
      the same structures and shapes.

  >>> import numpy as np
  >>> a, b = np.zeros(2), np.zeros(3)
  >>> turns([None, a, b, a, b, a])
  [Turns(start=0, period=1, count=1), Turns(start=1, period=2, count=2), \
Turns(start=5, period=1, count=1)]
  """
  kinds, out = [_kind(x) for x in given], []
  while (start := sum(t.period * t.count for t in out)) < len(kinds):
    found = [_repeated(kinds[start:], p) for p in range(1, LONGEST + 1)]
    # As many blocks as can be; of equals, the shortest turn.
    period, count = max(found, key=lambda t: (t[0] * t[1], -t[0]))
    out.append(Turns(start, period, count))
  return out


def _kind(tree: Any) -> Any:
  leaves, structure = jax.tree.flatten(tree)
  return structure, tuple((x.shape, x.dtype) for x in leaves)


def _repeated(kinds: list, period: int) -> tuple[int, int]:
  """How often the first `period` kinds follow each other; once: one of them."""
  count = 1
  while kinds[:period] == kinds[count * period:(count + 1) * period]:
    count += 1
  return (period, count) if count > 1 else (1, 1)


def scanned(
    step: Step, carry: Any, given: Sequence[Any]
) -> tuple[Any, list[Found]]:
  """`step` block by block; the compiler sees each kind of block once.

  Args:
    step: of a block.
    carry: ahead of the first block.
    given: to each block.

  Returns:
    (what is carried after the last, what the blocks of each run give).
  """
  out = []
  for run in turns(given):
    own = given[run.start:run.start + run.period * run.count]
    stacked = [_stacked(own[j::run.period]) for j in range(run.period)]

    def body(carry, one, run=run):
      index, given = one
      outs = []
      for j, x in enumerate(given):
        carry, y = step(carry, run.start + index * run.period + j, x)
        outs.append(y)
      return carry, outs

    index = jnp.arange(run.count, dtype=jnp.int32)
    carry, ys = jax.lax.scan(body, carry, (index, stacked))
    out.append((run, ys))
  return carry, out


def _stacked(trees: Sequence[Any]) -> Any:
  return jax.tree.map(lambda *xs: jnp.stack(xs), *trees)


def alone(block: int, out: Any) -> Found:
  """What one block gives, as `scanned` has it."""
  return Turns(block, 1, 1), [jax.tree.map(lambda y: y[None], out)]


def by_block(found: list[Found]) -> list[Any]:
  """What each block gives."""
  out = []
  for run, ys in found:
    for k in range(run.count):
      out += [jax.tree.map(lambda y, k=k: y[k], y) for y in ys]
  return out
