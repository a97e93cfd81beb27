"""Files of a bucket (gs://, s3://), copied to the disk of this machine once."""

import concurrent.futures
import functools
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
  digest = hashlib.sha256(path.rstrip('/').encode()).hexdigest()
  folder = pathlib.Path(_root(os.environ.get('LST_STAGE', '')), digest[:16])
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
  path, root = os.path.abspath(path), _root(os.environ.get('LST_STAGE', ''))
  return f'staged:{path[len(root):]}' if path.startswith(root) else path


@functools.cache
def _root(stage: str) -> str:
  """The folder of all copies, with its last slash."""
  path = os.path.expanduser(stage or '~/.cache/lst/stage')
  return os.path.join(os.path.abspath(path), '')


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
  changed = _changed(remote, there.mtime)
  if target.exists():
    here = target.stat()
    if here.st_size == there.length and changed in (None, here.st_mtime_ns):
      return
  target.parent.mkdir(parents=True, exist_ok=True)
  part = target.with_name(f'{target.name}.part')
  remote.copy(part, overwrite=True)
  if changed is not None:
    os.utime(part, ns=(changed, changed))
  part.replace(target)


def _changed(remote: epath.Path, seconds: int | None) -> int | None:
  """The time of last change in ns, to the microsecond; None if nobody tells."""
  if seconds:
    return int(seconds) * 10**9
  import fsspec
  try:
    system, path = fsspec.core.url_to_fs(os.fspath(remote))
    return int(system.modified(path).timestamp() * 1e6) * 1000
  except (ImportError, NotImplementedError):
    return None
