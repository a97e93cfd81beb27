"""What a cache takes and saves, ahead of making it, and whether to."""

import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import psutil

from lst.cache.errors import CacheError

# Bytes per second that hold within a factor of two or so on a common machine;
# only the order of the ways depends on them.
MEMORY_RATE, WRITE_RATE, DISK_RATE = 8e9, 0.3e9, 0.8e9
# Of what is free, the part that a cache may take.
PART = 0.5
# Features that took longer than this to make are worth keeping for later runs.
WORTH_KEEPING = 60.0
MODES = ('auto', 'disk', 'ram', 'off')
WAYS = {'off': 'computed every time', 'ram': 'kept in memory',
        'disk': 'kept on disk'}


class Work(NamedTuple):
  """What a run has to do, measured or known.

  Attributes:
    examples: that are seen in an epoch, and in each evaluation.
    views: fixed views of each example.
    epochs: passes over the examples.
    row_bytes: of one row as it is stored.
    forward_seconds: of the frozen pass, an image.
    fit_rows: rows whose features a codebook is found on; 0 if none has to be.
    there: rows that the cache on disk has already.
  """

  examples: int
  views: int
  epochs: int | float
  row_bytes: int
  forward_seconds: float
  fit_rows: int = 0
  there: int = 0

  @property
  def rows(self) -> int:
    """Examples times views."""
    return self.examples * self.views

  @property
  def bytes(self) -> int:
    """Of the whole cache."""
    return self.rows * self.row_bytes

  @property
  def missing(self) -> int:
    """Rows that the cache on disk lacks."""
    return max(0, self.rows - self.there)

  @property
  def disk_bytes(self) -> int:
    """That are still to be written."""
    return self.missing * self.row_bytes

  def made(self, rows: int) -> float:
    """Seconds of the passes that make some rows, and find a codebook."""
    return (rows + self.fit_rows) * self.forward_seconds


class Free(NamedTuple):
  """Bytes that are free now: of memory, and on the disk of the caches."""

  ram: int
  disk: int


class Choice(NamedTuple):
  """Whether to cache and why.

  Attributes:
    mode: 'disk', 'ram' or 'off'.
    reason: one line for people.
    seconds: that features take over the whole run, by mode; a mode that does
      not fit is not there.
  """

  mode: str
  reason: str
  seconds: dict[str, float]


def bytes_per_row(taps: Sequence[Any]) -> int:
  """Bytes of one row, for anything with `shape` (B, ...) and `dtype`.

  Twelve taps of a ViT-B/16 at 224 pixels in bf16, 3.5 MiB an image:

  >>> import jax
  >>> tap = jax.ShapeDtypeStruct((1, 197, 768), jnp.bfloat16)
  >>> round(bytes_per_row([tap] * 12) / 2**20, 1)
  3.5
  """
  return sum(
      int(np.prod(tap.shape[1:])) * jnp.dtype(tap.dtype).itemsize
      for tap in taps)


def free(root: pathlib.Path) -> Free:
  """What is free in memory and on the disk that holds, or would hold, root."""
  while not root.exists():
    root = root.parent
  return Free(psutil.virtual_memory().available, shutil.disk_usage(root).free)


def seconds(work: Work, there: Free) -> dict[str, float]:
  """Seconds that features take over the whole run, by mode that fits."""
  read = work.epochs * work.examples * work.row_bytes
  out = {'off': work.epochs * work.examples * work.forward_seconds}
  if work.bytes <= PART * there.ram:
    out['ram'] = work.made(work.rows) + read / MEMORY_RATE
  # What stays in the system's cache of the disk is read as memory is.
  rate = MEMORY_RATE if work.bytes <= PART * there.ram else DISK_RATE
  if not work.missing:
    out['disk'] = read / rate
  elif work.disk_bytes <= PART * there.disk:
    out['disk'] = (
        work.made(work.missing) + work.disk_bytes / WRITE_RATE + read / rate)
  return out


def choose(mode: str, work: Work, there: Free) -> Choice:
  """Chooses where to keep features, or not to.

  'auto' keeps them if that is sooner done than computing them anew: on disk if
  they are there already, do not fit into memory, or took so long to make that
  later runs will want them; else in memory, which leaves nothing behind.

  Args:
    mode: one of `MODES`; any but 'auto' is taken as it is, if it fits.
    work: what the run has to do.
    there: what is free.

  Raises:
    CacheError: an unknown mode, or one that was asked for and does not fit.
  """
  if mode not in MODES:
    raise CacheError(
        f'config.cache.mode={mode!r} is none of {", ".join(MODES)}')
  took = seconds(work, there)
  if mode != 'auto':
    if mode not in took:
      raise CacheError(_too_big(mode, work, there))
    return Choice(mode, f'{mode}, as asked: {_told(took, work)}', took)
  best, why = _best(took, work, there)
  if best != 'off' and took[best] >= took['off']:
    best, why = 'off', 'computing is no slower'
  return Choice(best, f'{best}, as {why}: {_told(took, work)}', took)


def _best(took: dict[str, float], work: Work, there: Free) -> tuple[str, str]:
  """The mode to keep features in, if they are kept, and why that."""
  if not work.missing:
    return 'disk', 'it is there already'
  if 'disk' in took and work.there:
    return 'disk', f'{work.there:,} of its rows are there'
  if 'disk' in took and work.made(work.rows) > WORTH_KEEPING:
    return 'disk', 'later runs are spared the passes'
  if 'ram' in took:
    return 'ram', 'it is soon made again'
  if 'disk' in took:
    return 'disk', 'memory is too small for it'
  return 'off', (
      f'neither half of {size(there.ram)} of free memory nor half of '
      f'{size(there.disk)} of free disk holds it')


def _told(took: dict[str, float], work: Work) -> str:
  ways = ', '.join(f'{duration(s)} {WAYS[mode]}' for mode, s in took.items())
  return (f'{work.rows:,} rows of {size(work.row_bytes)} are '
          f'{size(work.bytes)}; over the whole run they take {ways}')


def _too_big(mode: str, work: Work, there: Free) -> str:
  where, room, other = {
      'ram': ('memory', there.ram, 'mode=disk'),
      'disk': ('disk', there.disk, 'another config.cache.path')}[mode]
  rows, what = work.rows, 'rows'
  if mode == 'disk' and work.there:
    rows, what = work.missing, 'rows that are missing,'
  return (
      f'config.cache.mode={mode}: {rows:,} {what} of {size(work.row_bytes)} '
      f'are {size(rows * work.row_bytes)}, more than half of the {size(room)} '
      f'of {where} that is free. Choose a smaller config.cache.form, {other} '
      'or mode=off')


def size(count: int | float) -> str:
  """A number of bytes in words.

  >>> size(1000), size(3.46 * 2**20), size(784 * 2**20)
  ('1,000 B', '3.5 MiB', '784 MiB')
  """
  units = ('B', 'KiB', 'MiB', 'GiB', 'TiB')
  power = 0
  while count >= 1024 and power < len(units) - 1:
    count, power = count / 1024, power + 1
  return f'{_short(count) if power else f"{count:,.0f}"} {units[power]}'


def duration(count: int | float) -> str:
  """A number of seconds in words.

  >>> duration(0.4), duration(110), duration(6000), duration(1e5)
  ('0.4 s', '110 s', '100 min', '27.8 h')
  >>> duration(6e6)
  '69 days'
  """
  if count < 120:
    return f'{_short(count)} s'
  if count < 7200:
    return f'{_short(count / 60)} min'
  if count < 48 * 3600:
    return f'{count / 3600:.1f} h'
  return f'{count / 86400:,.0f} days'


def _short(count: int | float) -> str:
  return f'{count:,.0f}' if count >= 10 else f'{count:.1f}'
