"""The folder of a cache: who writes it, what is wrong with it, what is its."""

import contextlib
import hashlib
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import filelock

from lst.cache import claims, codebooks, forms, layout, shards
from lst.cache.errors import MEND, CacheError


class Fault(NamedTuple):
  """A shard of one array that is not as it was written.

  Attributes:
    array: the name of the array.
    shard: its number.
    why: missing, of another size, or its checksum.
  """

  array: str
  shard: int
  why: str


@contextlib.contextmanager
def locked(
    folder: pathlib.Path, say: Callable[[str], Any] | None = print
) -> Iterator[None]:
  """Holds the folder of a cache against other writers, of any process.

  Args:
    folder: of the cache. Its lock lies beside it, as it must outlive it.
    say: told that another process has it, before waiting for that to end;
      None does not wait.

  Raises:
    CacheError: another process holds it and `say` is None.
  """
  folder.parent.joinpath('.locks').mkdir(parents=True, exist_ok=True)
  lock = filelock.FileLock(folder.parent / '.locks' / f'{folder.name}.lock')
  try:
    lock.acquire(timeout=0)
  except filelock.Timeout as error:
    if say is None:
      raise CacheError(
          f'{folder} is in use by another process that writes it') from error
    say(f'another process begins the features in {folder}: waiting for it')
    lock.acquire()
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
  """Holds the folder of a cache that nobody writes, without waiting.

  Raises:
    CacheError: another process writes it.
  """
  with locked(folder, say=None):
    makers = set(claims.held(folder).values())
    if makers:
      raise CacheError(
          f'{folder} is in use by another process that writes it '
          f'({"; ".join(sorted(makers))})')
    yield


def faults(
    folder: pathlib.Path, plan: layout.Layout, checksums: bool = False
) -> list[Fault]:
  """What is missing or damaged, by the sizes of files or by every checksum."""
  check = shards.checked if checksums else shards.whole
  found = (
      Fault(array.name, shard, check(folder, plan, array, shard))
      for shard in range(plan.shards) for array in plan.arrays)
  return [fault for fault in found if fault.why]


def rows_there(folder: pathlib.Path) -> int:
  """The rows of a cache whose shards have all files at their full size."""
  try:
    about = layout.read_about(folder)
    read_codebook(folder, about)
  except CacheError:
    return 0
  missing = {fault.shard for fault in faults(folder, about.layout)}
  return about.layout.rows - len(about.layout.rows_of(sorted(missing)))


def complete(folder: pathlib.Path) -> bool:
  """Whether a cache has all its rows."""
  there = rows_there(folder)
  return there > 0 and there == layout.read_about(folder).layout.rows


def read_codebook(
    folder: pathlib.Path, about: layout.About
) -> forms.Codebook:
  """The codebook of a cache.

  Raises:
    CacheError: it is missing or damaged.
  """
  path = folder / layout.CODEBOOK
  content = path.read_bytes() if path.exists() else b''
  if hashlib.sha256(content).hexdigest() != about.codebook:
    raise CacheError(f'{path} is missing or damaged. {MEND}')
  return codebooks.unpack(about.form, path, len(about.layout.taps))


def contents(folder: pathlib.Path) -> list[pathlib.Path]:
  """What a cache has in its folder, about.json last; nothing else."""
  names = [
      path for path in sorted(folder.glob('*'))
      if re.fullmatch(r'tap_\d+|label|codebook\.safetensors(\.part)?|'
                      r'about\.json\.part|manifest\.json(\..*\.part)?',
                      path.name)]
  return [*names, *folder.glob(layout.ABOUT)]


def clear(folder: pathlib.Path) -> None:
  """Deletes what a cache has in its folder. Call it under `locked`."""
  for path in contents(folder):
    if path.is_dir() and not path.is_symlink():
      shutil.rmtree(path)
    else:
      path.unlink()


def discard(folder: pathlib.Path, found: Sequence[Fault]) -> int:
  """Deletes shards that are still damaged; how many files that were.

  Gone, they are missing to whoever builds next, and made anew.

  Raises:
    CacheError: another process writes the cache.
  """
  with alone(folder):
    plan = layout.read_about(folder).layout
    arrays = {array.name: array for array in plan.arrays}
    gone = 0
    for name, shard, _ in found:
      path = shards.path_of(folder, arrays[name], shard)
      if path.exists() and shards.checked(folder, plan, arrays[name], shard):
        path.unlink()
        gone += 1
  return gone


def told(
    folder: pathlib.Path, found: Sequence[Fault], otherwise: str = ''
) -> str:
  """Damage in words: what, where, and what to do."""
  if not found:
    return f'{folder} cannot be read: {otherwise}'
  first = found[0]
  more = f', and {len(found) - 1} more like it' if found[1:] else ''
  return (f'{folder}: shard {first.shard} of {first.array} is not as it was '
          f'written ({first.why}){more}. {MEND} `python -m lst.cache verify` '
          'lists all damage.')
