"""Making a cache on disk, or what is missing of one."""

import contextlib
import errno
import hashlib
import itertools
import pathlib
import shlex
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

from lst.cache import (
    claims,
    codebooks,
    fill,
    folders,
    layout,
    manifest,
    shards,
)
from lst.cache import key as keys
from lst.cache.disk import Disk
from lst.cache.errors import CacheError
from lst.cache.rows import Recipe

PACKAGES = ('lst', 'jax', 'tensorstore', 'numpy')
# Rows, about, that a worker takes at a time: many batches, as the last of them
# may be short.
UNIT_ROWS = 2048
# Seconds between looks at what other workers have made.
POLL = 1.0
# What the system answers where a cache is another person's, or on a disk that
# is only to be read.
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def build(
    root: pathlib.Path,
    key: keys.Key,
    recipe: Recipe,
    *,
    note: dict[str, Any] | None = None,
    shard_bytes: int = layout.SHARD_BYTES,
    checksums: bool = False,
    unit_rows: int = UNIT_ROWS,
    say: Callable[[str], Any] = print,
    progress: fill.Progress | None = None,
) -> Disk:
  """Opens the cache of a key, after computing whatever is missing of it.

  Stopped in whatever way, the same call computes what is missing or damaged, no
  other shard. Processes that build the same, on any machines, share them: each
  takes some that no other is at, and returns when all are there.

  Args:
    root, key: the folder of all caches; of this one.
    recipe: makes what is missing of its rows, and nothing else.
    note: JSON-able, for `inspect`: backbone, data, split.
    shard_bytes: about the size of a shard.
    checksums: whether to read everything that is there, or to trust files of
      the right size until their rows are first read.
    unit_rows: about how many rows a process takes at a time.
    say, progress: told what is waited for; called with (rows done, rows to do).

  Raises:
    CacheError: the rows are not what was announced, or the disk is full.
  """
  folder = keys.folder_of(root, key)
  try:
    plan, codebook, missing = _looked_at(
        folder, key, recipe, note, shard_bytes, checksums, say)
  except OSError as error:
    return _only_read(folder, error)
  work = _Work(folder, plan, recipe, codebook, progress, say)
  work.all(missing, -(-unit_rows // plan.shard_rows))
  return Disk(folder)


def _looked_at(folder, key, recipe, note, shard_bytes, checksums, say):
  """The layout, the codebook, and which shards are to be made."""
  with folders.locked(folder, say):
    about, codebook = _begin(
        folder, key, recipe, note or {}, shard_bytes, say)
    plan = about.layout
    return plan, codebook, _missing(folder, plan, checksums, say)


def _only_read(folder: pathlib.Path, error: OSError) -> Disk:
  """A cache that cannot be written, if there is nothing to write."""
  # Images that cannot be read are another matter.
  if error.errno not in FORBIDDEN or str(folder.parent) not in str(
      error.filename):
    raise error
  if folders.complete(folder):
    return Disk(folder)
  raise CacheError(
      f'{folder} is not whole, and cannot be written here: {error}. Set '
      'config.cache.path or $LST_CACHE to a folder that can be, or '
      'config.cache.mode=ram or off') from error


def _begin(folder, key, recipe, note, shard_bytes, say):
  """about.json and the codebook: those that are there, or new ones."""
  old, codebook = _found(folder, say)
  if codebook is None:
    codebook = recipe.fit()
  packed = codebooks.pack(codebook)
  digest = hashlib.sha256(packed).hexdigest()
  shapes = fill.stored_shapes(recipe.like, codebook)
  plan = layout.plan(recipe.count, shapes, shard_bytes)
  if old and (plan.rows, plan.taps) != (old.layout.rows, old.layout.taps):
    raise CacheError(
        f'{folder} holds {old.layout.rows} rows of {old.layout.taps} under '
        f'the same key as {plan.rows} rows of {plan.taps}: the key leaves '
        'something out. Name it in `Key.features`.')
  if old and digest == old.codebook:
    # Shards stay as they were cut, whatever `shard_bytes` says now.
    layout.replace(folder / layout.CODEBOOK, packed)
    return old, codebook
  # Rows of another codebook, or of who knows what, are worth nothing.
  folders.clear(folder)
  folder.mkdir(parents=True, exist_ok=True)
  layout.replace(folder / layout.CODEBOOK, packed)
  about = layout.About(
      key.digest, key.as_dict(), key.form['name'], plan, digest, note,
      time.time(), shlex.join(sys.argv), _versions())
  layout.write_about(folder, about)
  return about, codebook


def _found(folder: pathlib.Path, say):
  """about.json and the codebook as far as they are there and whole."""
  if not (folder / layout.ABOUT).exists():
    return None, None
  try:
    about = layout.read_about(folder)
  except CacheError as error:
    say(str(error))
    return None, None
  try:
    return about, folders.read_codebook(folder, about)
  except CacheError as error:
    say(str(error))
    return about, None


def _missing(folder, plan, checksums, say) -> list[int]:
  """The shards that are missing or damaged; what is damaged is deleted."""
  # Nothing here reads zarr.json, but others do: it is to be right, too.
  for array in plan.arrays:
    shards.open_array(folder, plan, array, write=True)
  found = folders.faults(folder, plan, checksums)
  missing = sorted({fault.shard for fault in found})
  if missing and len(missing) < plan.shards:
    say(f'{folder}: computing {len(missing)} of {plan.shards} shards')
  # Others may have made since what was not there, or are about to make it.
  held = claims.held(folder)
  _drop(folder, plan, [
      f for f in found if f.why != 'missing' and f.shard not in held],
      checksums)
  return missing


def _drop(folder, plan, found, checksums) -> None:
  """Deletes the files that are still as they were found."""
  arrays = {array.name: array for array in plan.arrays}
  check = shards.checked if checksums else shards.whole
  for name, shard, _ in found:
    if check(folder, plan, arrays[name], shard):
      shards.path_of(folder, arrays[name], shard).unlink(missing_ok=True)


class _Work(NamedTuple):
  """What one process does of a cache, beside others or alone."""

  folder: pathlib.Path
  plan: layout.Layout
  recipe: Recipe
  codebook: Any
  progress: fill.Progress | None
  say: Callable[[str], Any]

  def all(self, missing: list[int], unit: int) -> None:
    """Makes shards, `unit` at a time, until all are there."""
    if not missing:
      return
    total, said = len(self.plan.rows_of(missing)), False
    with claims.Claims(self.folder) as own:
      while missing:
        taken = own.take(missing, unit)
        # Another may have made some between the look and the lease.
        mine = self._left(taken)
        left = len(self.plan.rows_of(missing))
        if mine:
          self._write(mine, total - left, total)
        own.release(taken)
        missing = self._left(missing)
        manifest.write(self.folder, self.plan)
        if missing and not taken:
          if not said:
            self.say(f'other processes make {len(missing)} shards of '
                     f'{self.folder}: waiting for them')
            said = True
          time.sleep(POLL)

  def _left(self, numbers: list[int]) -> list[int]:
    return [
        n for n in numbers if any(
            shards.whole(self.folder, self.plan, array, n)
            for array in self.plan.arrays)]

  def _write(self, mine: list[int], done: int, total: int) -> None:
    # TensorStore would read the last, shorter shard before it writes it. What
    # is whole by now another has made, to whom the lease went.
    for shard, array in itertools.product(self._left(mine), self.plan.arrays):
      shards.path_of(self.folder, array, shard).unlink(missing_ok=True)
    todo = self.plan.rows_of(mine)
    writer = shards.Writer(self.folder, self.plan, mine)

    def progress(here: int, _: int) -> None:
      if self.progress:
        self.progress(done + here, total)

    for parts in fill.encoded(
        self.recipe.produce(todo), self.codebook, len(todo), progress):
      writer.add(parts)
    writer.wait()


def _versions() -> dict[str, str]:
  out = {}
  for name in PACKAGES:
    with contextlib.suppress(metadata.PackageNotFoundError):
      out[name] = metadata.version(name)
  return out
