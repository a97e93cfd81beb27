"""The rows of a cache as they cross its boundary, and the store contract."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jaxtyping as jt
import numpy as np

from lst.cache.forms import Codebook
from lst.data import Batch

# The label of an example that cannot be read, whose row is worth nothing.
UNREADABLE = -1


class Produced(NamedTuple):
  """Some next rows on their way into a cache.

  Attributes:
    taps: (B, N, D) of each tap, on the device or not; rows past the labels
      are padding, so that every batch can have one shape.
    label: (b,) with b <= B; how many rows count.
  """

  taps: tuple[Any, ...]
  label: jt.Int32[np.ndarray, ' b']


# From rows to those rows, in their order, in batches of any size.
Produce = Callable[[np.ndarray], Iterator[Produced]]


class Recipe(NamedTuple):
  """How the rows of a cache are made; nothing is called unless it has to be.

  Attributes:
    like: one array or `jax.ShapeDtypeStruct` (B, N, D) for each tap.
    count: examples times views.
    produce: rows -> those rows in order, in batches.
    fit: () -> the codebook of the form, see `lst.cache.fit`.
  """

  like: Sequence[Any]
  count: int
  produce: Produce
  fit: Callable[[], Codebook]


@runtime_checkable
class Store(Protocol):
  """A cache that is ready, on disk or in memory; safe in several threads.

  Attributes:
    rows: examples times views; row = example * views + view.
    codebook: the second argument of `lst.cache.expand`.
    labels: int32 (rows,).
  """

  rows: int
  codebook: Codebook
  labels: np.ndarray

  def read(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """The stored form of each tap at some rows.

    Args:
      rows: integers (b,) from 0, in any order, repeated or not.

    Returns:
      A fresh contiguous array (b, *shape) for each tap.

    Raises:
      IndexError: a row that the cache has not.
    """

  def batch(self, rows: np.ndarray) -> Batch:
    """The same with labels, for rows (b,); -1 is padding, all of it 0.

    So is an example that cannot be read.
    """


def check_rows(rows: np.ndarray, count: int) -> None:
  """Raises IndexError unless all rows (b,) are from 0 to count - 1."""
  if len(rows) and not (rows.min() >= 0 and rows.max() < count):
    raise IndexError(
        f'rows from {rows.min()} to {rows.max()}: the cache has 0 to '
        f'{count - 1}')


def batch(store: Store, rows: np.ndarray) -> Batch:
  """`Store.batch` by way of `Store.read`; rows (b,)."""
  there = (rows >= 0) & (store.labels[rows] != UNREADABLE)
  stored = store.read(rows if there.all() else np.where(there, rows, 0))
  label = np.where(there, store.labels[rows], 0).astype(np.int32)
  if not there.all():
    for tap in stored:
      tap[~there] = 0
  return Batch(stored, label, there.astype(np.float32))
