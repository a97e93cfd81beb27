"""A cache on disk, read: through checksums once, then mapped."""

import contextlib
import pathlib

import numpy as np
import tensorstore as ts

from lst.cache import claims, folders, layout, shards
from lst.cache.errors import CacheError
from lst.cache.rows import batch, check_rows
from lst.data import Batch


class Disk:
  """A complete cache on disk; a `lst.cache.Store`.

  A row is checked when this process first reads it; see `lst/cache/shards.py`.

  Attributes:
    folder: of the cache.
    about: its about.json.
    rows, codebook, labels: as `Store` has them.

  Raises:
    CacheError: there is no such cache, or shards are missing or of the wrong
      size; from `read`, a row is damaged.
  """

  def __init__(self, folder: pathlib.Path):
    self.folder = pathlib.Path(folder)
    self.about = layout.read_about(self.folder)
    self._layout = plan = self.about.layout
    self.codebook = folders.read_codebook(self.folder, self.about)
    self.rows = plan.rows
    found = folders.faults(self.folder, plan)
    if found:
      raise CacheError(folders.told(self.folder, found))
    self._open = [
        shards.open_array(self.folder, plan, array) for array in plan.arrays]
    self._mapped = [
        shards.Mapped(self.folder, plan, tap) for tap in plan.taps]
    self._seen = np.zeros(plan.rows, bool)
    every = np.arange(0, plan.rows)
    self._reading = claims.Reading(self.folder)
    self._used()
    self.labels = self._checked(plan.arrays[0], self._open[0], every)

  def _used(self) -> None:
    """Leaves the sign of use that `prune` goes by."""
    with contextlib.suppress(OSError):
      (self.folder / layout.ABOUT).touch()

  def read(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """As `Store.read`, for rows (b,)."""
    rows = np.asarray(rows, np.int64)
    check_rows(rows, self.rows)
    if self._reading.touch():
      self._used()
    new = ~self._seen[rows]
    if new.all():
      return self._first(rows)
    out = tuple(
        np.empty((len(rows), *array.shape[1:]), array.dtype.numpy_dtype)
        for array in self._open[1:])
    if new.any():
      for to, part in zip(out, self._first(rows[new]), strict=True):
        to[new] = part
    places = np.flatnonzero(~new).tolist()
    known = rows[~new].tolist()
    for to, mapped in zip(out, self._mapped, strict=True):
      mapped.copy(known, to.reshape(len(rows), -1).view(np.uint8), places)
    return out

  def batch(self, rows: np.ndarray) -> Batch:
    """As `Store.batch`, for rows (b,)."""
    return batch(self, rows)

  def _first(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Through the checksums."""
    futures = [array[rows].read() for array in self._open[1:]]
    out = tuple(
        self._checked(array, future, rows) for array, future in zip(
            self._layout.taps, futures, strict=True))
    self._seen[rows] = True
    return out

  def _checked(self, array, source, rows):
    try:
      pending = source if isinstance(source, ts.Future) else source.read()
      return np.ascontiguousarray(pending.result())
    except ValueError as error:
      touched = np.unique(rows // self._layout.shard_rows).tolist()
      found = [
          folders.Fault(array.name, shard, why) for shard in touched if (
              why := shards.checked(
                  self.folder, self._layout, array, shard))]
      # Gone, a shard is seen to be missing by whoever builds next. Where
      # nothing may be deleted, or another process builds, that waits.
      with contextlib.suppress(OSError, CacheError):
        folders.discard(self.folder, found)
      raise CacheError(folders.told(self.folder, found, str(error))) from error
