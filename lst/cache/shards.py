"""The files of a cache: written and checked by TensorStore, read mapped.

TensorStore checks the crc32c of every row that it reads, and is for that ten
times slower than copying out of mapped files, which nothing stands in the way
of: rows are not compressed, and each shard ends with the places of its rows.
So a row goes through TensorStore when a process first reads it and is copied
from then on. A shard comes into being in one move, at its full size.
"""

import collections
import contextlib
import pathlib
import resource
import threading
import weakref

import numpy as np
import tensorstore as ts

from lst.cache.errors import MEND, CacheError
from lst.cache.layout import CRC, PLACE, Array, Layout

# Files that a process has mapped at a time, each of which keeps a descriptor:
# systems allow about 65,000 maps.
MOST_MAPPED = 32768
LITTLE = {'name': 'bytes', 'configuration': {'endian': 'little'}}
CHECKED = [LITTLE, {'name': 'crc32c'}]


def open_array(
    folder: pathlib.Path, layout: Layout, array: Array, write: bool = False
) -> ts.TensorStore:
  """Opens one array; to write makes zarr.json, which reading does not need."""
  spec = {
      'driver': 'zarr3',
      'kvstore': {'driver': 'file', 'path': f'{folder / array.name}/'},
      'metadata': _metadata(layout, array),
      # A row of zeros is a row, and a row that is missing is not zeros.
      'store_data_equal_to_fill_value': True,
      'fill_missing_data_reads': False,
      'context': {'cache_pool': {'total_bytes_limit': 0}},
  }
  if not write:
    return ts.open(spec, assume_metadata=True, read=True).result()
  try:
    return ts.open(spec, open=True, create=True).result()
  except ValueError:
    # A zarr.json that says anything else is damaged: the layout decides.
    (folder / array.name / 'zarr.json').unlink()
    return ts.open(spec, open=True, create=True).result()


def _metadata(layout: Layout, array: Array):
  def grid(rows):
    return [rows, *array.shape]

  sharded = {'chunk_shape': grid(layout.chunk_rows(array)), 'codecs': CHECKED,
             'index_codecs': CHECKED, 'index_location': 'end'}
  return {
      'shape': grid(layout.rows),
      'data_type': array.dtype,
      'chunk_grid': {'name': 'regular', 'configuration': {
          'chunk_shape': grid(layout.shard_rows)}},
      'codecs': [{'name': 'sharding_indexed', 'configuration': sharded}],
  }


def path_of(folder: pathlib.Path, array: Array, shard: int) -> pathlib.Path:
  """The file of one shard of one array."""
  zeros = '/0' * len(array.shape)
  return folder / array.name / f'c/{shard}{zeros}'


def whole(
    folder: pathlib.Path, layout: Layout, array: Array, shard: int
) -> str:
  """'' if the file is there at its full size, else what is wrong with it."""
  try:
    size = path_of(folder, array, shard).stat().st_size
  except OSError:
    return 'missing'
  expected = layout.file_bytes(array, shard)
  return '' if size == expected else f'{size} bytes instead of {expected}'


def checked(
    folder: pathlib.Path, layout: Layout, array: Array, shard: int
) -> str:
  """'' if every row has its checksum, else what is wrong with the file."""
  fault = whole(folder, layout, array, shard)
  if fault:
    return fault
  start, stop = layout.span(shard)
  try:
    open_array(folder, layout, array)[start:stop].read().result()
  except ValueError as error:
    return f'wrong checksum: {error}'
  return ''


def most_mapped() -> int:
  """`MOST_MAPPED`, or half of the descriptors that this process may have.

  Their limit is raised as far as the system lets one: the usual 1,024 are for
  programs that wait by `select`.
  """
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  unlimited, wanted = resource.RLIM_INFINITY, 2 * MOST_MAPPED
  allowed = wanted if hard == unlimited else min(wanted, hard)
  if soft != unlimited and soft < allowed:
    with contextlib.suppress(ValueError, OSError):
      resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
      soft = allowed
  return MOST_MAPPED if soft == unlimited else min(wanted, soft) // 2


# Arrays that are open: they share what may be mapped.
_LIVE = weakref.WeakSet()


class Mapped:
  """The rows of one array, copied out of its mapped files unchecked."""

  def __init__(self, folder: pathlib.Path, layout: Layout, array: Array):
    self._folder, self._layout, self._array = folder, layout, array
    self._row_bytes = array.row_bytes
    self._maps, self._lock = collections.OrderedDict(), threading.Lock()
    _LIVE.add(self)

  def _open(self, shard: int) -> tuple[np.ndarray, list[int]]:
    """A mapped shard; the least lately read ones make room for it."""
    with self._lock:
      if shard in self._maps:
        self._maps.move_to_end(shard)
        return self._maps[shard]
    found, limit = self._map(shard), most_mapped() // len(_LIVE)
    with self._lock:
      self._maps[shard] = found
      while len(self._maps) > max(1, limit):
        self._maps.popitem(last=False)
    return found

  def _map(self, shard: int) -> tuple[np.ndarray, list[int]]:
    """The bytes of a shard and where in them its rows start."""
    path = path_of(self._folder, self._array, shard)
    try:
      file = np.memmap(path, np.uint8, mode='r')
    except (OSError, ValueError) as error:
      raise CacheError(
          f'{path} was there when this process opened the cache and cannot be '
          f'read any more: {error}. {MEND}') from error
    index = file[-CRC - self._layout.shard_rows * PLACE:-CRC]
    return file, index.view('<u8').reshape(-1, 2)[:, 0].tolist()

  def copy(self, rows: list[int], to: np.ndarray, places: list[int]) -> None:
    """Puts some rows into `to`, uint8 (n, bytes), at these places."""
    for row, place in zip(rows, places, strict=True):
      shard, inner = divmod(row, self._layout.shard_rows)
      file, starts = self._open(shard)
      start = starts[inner]
      to[place] = file[start:start + self._row_bytes]


class Writer:
  """Takes rows in order and writes the shards they fill."""

  def __init__(
      self, folder: pathlib.Path, layout: Layout, shards: list[int]
  ):
    self._folder, self._layout, self._left = folder, layout, list(shards)
    self._arrays = [
        open_array(folder, layout, array, write=True)
        for array in layout.arrays]
    self._pending = []
    self._begin()

  def _begin(self) -> None:
    self._filled = 0
    if self._left:
      start, stop = self._layout.span(self._left[0])
      self._buffers = [
          np.empty((stop - start, *a.shape[1:]), a.dtype.numpy_dtype)
          for a in self._arrays]

  def add(self, parts: list[np.ndarray]) -> None:
    """Adds the next rows (n, *shape) of every array, n of each, labels first.
    """
    done, count = 0, len(parts[0])
    while done < count:
      room = len(self._buffers[0]) - self._filled
      now = min(room, count - done)
      for buffer, part in zip(self._buffers, parts, strict=True):
        buffer[self._filled:self._filled + now] = part[done:done + now]
      self._filled, done = self._filled + now, done + now
      if now == room:
        self._finish_shard()

  def _finish_shard(self) -> None:
    # One shard is written while the next is filled, no more: memory.
    self.wait()
    start, stop = self._layout.span(self._left.pop(0))
    self._pending = [
        array[start:stop].write(
            buffer, can_reference_source_data_indefinitely=True)
        for array, buffer in zip(self._arrays, self._buffers, strict=True)]
    self._begin()

  def wait(self) -> None:
    """Returns when all full shards are on disk."""
    try:
      for future in self._pending:
        future.result()
    except ValueError as error:
      raise CacheError(
          f'{self._folder} cannot be written: {error}. Free some space, set '
          'config.cache.path or $LST_CACHE to another disk, or do without '
          'by config.cache.mode=off; the shards so far are kept.') from error
    self._pending = []

