"""Files of a bucket (gs://, s3://), copied to the disk of this machine once."""

import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Iterator

import filelock
from etils import epath

SCHEMES = ('gs://', 's3://')
# Copies at a time.
WIDTH = 16


def local(path: str | os.PathLike) -> str | os.PathLike:
  """A path that can be opened: of the copy, where `path` is of a bucket.

  What was copied before, and has the same size and time of last change there,
  is not copied again; the copy has that time, too.

  Args:
    path: of a file or folder; one that is of no bucket comes back as it is.

  Returns:
    The path below $LST_STAGE, by default ~/.cache/lst/stage.

  Raises:
    FileNotFoundError: there is nothing of that name.
  """
  if not os.fspath(path).startswith(SCHEMES):
    return path
  remote = epath.Path(path)
  folder = _root() / hashlib.sha256(path.rstrip('/').encode()).hexdigest()[:16]
  folder.mkdir(parents=True, exist_ok=True)
  target = folder / remote.name
  # Several processes of a machine share the copy.
  with filelock.FileLock(f'{folder}.lock'):
    files = list(_files(remote, target))
    if not files:
      raise FileNotFoundError(f'{path}: there is no such file or folder')
    with concurrent.futures.ThreadPoolExecutor(WIDTH) as pool:
      for _ in pool.map(_copy, *zip(*files, strict=True)):
        pass
  return str(target)


def name_of(path: str) -> str:
  """A name of a file that is the same on every machine that has copied it.

  Args:
    path: of a file. One that is no copy has its absolute path.
  """
  path = os.path.abspath(path)
  root = os.path.abspath(_root())
  if os.path.commonpath([root, path]) != root:
    return path
  return f'staged:{os.path.relpath(path, root)}'


def _root() -> pathlib.Path:
  return pathlib.Path(
      os.environ.get('LST_STAGE') or '~/.cache/lst/stage').expanduser()


def _files(
    remote: epath.Path, target: pathlib.Path
) -> Iterator[tuple[epath.Path, pathlib.Path]]:
  """(there, here) of every file."""
  if remote.is_dir():
    for inner in remote.iterdir():
      yield from _files(inner, target / inner.name)
  elif remote.exists():
    yield remote, target


def _copy(remote: epath.Path, target: pathlib.Path) -> None:
  there = remote.stat()
  changed = int(there.mtime or 0)
  if target.exists():
    here = target.stat()
    if (here.st_size, int(here.st_mtime)) == (there.length, changed):
      return
  target.parent.mkdir(parents=True, exist_ok=True)
  part = target.with_name(f'{target.name}.part')
  remote.copy(part, overwrite=True)
  os.utime(part, (changed, changed))
  part.replace(target)
