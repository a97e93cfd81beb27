"""All caches below a root: what is there, what is damaged, what may go."""

import pathlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from lst.cache import claims, folders, layout
from lst.cache.errors import CacheError
from lst.cache.key import PREFIX


class Found(NamedTuple):
  """One cache below a root.

  Attributes:
    folder: of the cache.
    about: its about.json.
    bytes: that its files take.
    used: when it was last written or opened, in seconds since 1970.
    missing: shards that are not there at their full size.
  """

  folder: pathlib.Path
  about: layout.About
  bytes: int
  used: float
  missing: int


def find(root: pathlib.Path) -> list[Found]:
  """The caches directly below `root`, the most lately used first.

  A folder is one only if it says so and bears the name of its own key: nothing
  else is ever listed, verified or deleted.
  """
  found = []
  for folder in sorted(root.glob('*')):
    if not re.fullmatch(f'[0-9a-f]{{{PREFIX}}}', folder.name):
      continue
    if folder.is_symlink() or not folder.is_dir():
      continue
    try:
      about = layout.read_about(folder)
    except CacheError:
      continue
    if about.digest.startswith(folder.name):
      found.append(_found(folder, about))
  return sorted(found, key=lambda one: -one.used)


def _found(folder: pathlib.Path, about: layout.About) -> Found:
  size = sum(path.lstat().st_size for path in _files(folder))
  # Whoever opens a cache touches this file.
  used = (folder / layout.ABOUT).stat().st_mtime
  shards = {fault.shard for fault in folders.faults(folder, about.layout)}
  return Found(folder, about, size, used, len(shards))


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  for path in folders.contents(folder):
    if path.is_dir():
      yield from (p for p in path.rglob('*') if not p.is_dir())
    else:
      yield path


def verify(found: Found) -> list[str]:
  """Reads every checksum of a cache; what is wrong, each in a line."""
  out = []
  try:
    folders.read_codebook(found.folder, found.about)
  except CacheError as error:
    out.append(str(error))
  for fault in folders.faults(
      found.folder, found.about.layout, checksums=True):
    out.append(
        f'{found.folder}: shard {fault.shard} of {fault.array}: {fault.why}')
  return out


def repair(found: Found) -> int:
  """Deletes the damaged shards, so that the next build makes them anew.

  Returns:
    The number of files deleted.

  Raises:
    CacheError: another process writes the cache.
  """
  return folders.discard(found.folder, folders.faults(
      found.folder, found.about.layout, checksums=True))


def stale(
    caches: Iterable[Found],
    *,
    days: int | float | None = None,
    most_bytes: int | float | None = None,
    incomplete: bool = False,
    now: int | float | None = None,
) -> list[Found]:
  """The caches that may go under any of these rules.

  Args:
    caches: as `find` gives them.
    days: not used for longer than this.
    most_bytes: all together may take; the least lately used go first.
    incomplete: whether those that lack shards may go.
    now: seconds since 1970.
  """
  now = time.time() if now is None else now
  gone, kept = [], 0
  for one in sorted(caches, key=lambda one: -one.used):
    old = days is not None and now - one.used > days * 86400
    over = most_bytes is not None and kept + one.bytes > most_bytes
    if old or over or (incomplete and one.missing):
      gone.append(one)
    else:
      kept += one.bytes
  return gone


def delete(found: Found, say: Callable[[str], Any] = print) -> bool:
  """Deletes a cache; whether its folder is gone.

  What is not of the cache stays, and so does a cache that is being written or
  read.
  """
  readers = claims.readers(found.folder)
  if readers:
    say(f'{found.folder} is being read ({"; ".join(readers)}) and stays')
    return False
  try:
    with folders.alone(found.folder):
      folders.clear(found.folder)
  except CacheError as error:
    say(str(error))
    return False
  left = sorted(path.name for path in found.folder.iterdir())
  if left:
    say(f'{found.folder} also holds {", ".join(left)}, which stays')
    return False
  found.folder.rmdir()
  return True
