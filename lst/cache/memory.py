"""A cache in memory: the same rows, gone with the process."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from lst.cache import fill, forms
from lst.cache.rows import Recipe, batch, check_rows
from lst.data import Batch


class Memory:
  """Rows in memory; a `lst.cache.Store`.

  Attributes:
    rows, codebook, labels: as `Store` has them.
  """

  def __init__(
      self, codebook: forms.Codebook, labels: np.ndarray,
      taps: Sequence[np.ndarray]
  ):
    self.rows, self.codebook, self.labels = len(labels), codebook, labels
    self._taps = tuple(taps)

  def read(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """As `Store.read`, for rows (b,)."""
    rows = np.asarray(rows, np.int64)
    check_rows(rows, self.rows)
    return tuple(np.take(tap, rows, axis=0) for tap in self._taps)

  def batch(self, rows: np.ndarray) -> Batch:
    """As `Store.batch`, for rows (b,)."""
    return batch(self, rows)


def build_in_memory(
    recipe: Recipe, progress: fill.Progress | None = None
) -> Memory:
  """Computes all rows.

  Raises:
    CacheError: the rows are not what was announced.
    MemoryError: they do not fit.
  """
  count, codebook = recipe.count, recipe.fit()
  shapes = fill.stored_shapes(recipe.like, codebook)
  arrays = [np.empty(count, np.int32)] + [
      np.empty((count, *x.shape[1:]), jnp.dtype(x.dtype)) for x in shapes]
  produced = recipe.produce(np.arange(count))
  done = 0
  for parts in fill.encoded(produced, codebook, count, progress):
    for array, part in zip(arrays, parts, strict=True):
      array[done:done + len(part)] = part
    done += len(parts[0])
  labels, *taps = arrays
  return Memory(codebook, labels, taps)
