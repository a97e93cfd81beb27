"""Who makes which shards: leases, which end when their holder does.

Any number of workers may build a cache, on any machines that see its folder.
A lease is a file that its holder touches; one that is old, or whose process is
gone from this machine, is anybody's. Should two make the same shard after all,
they write the same bytes in one move each, so a lease spares work and guards
nothing.
"""

import contextlib
import itertools
import json
import os
import pathlib
import socket
import threading
import time
import weakref
from collections.abc import Iterable

import psutil

# Seconds after which a lease that nobody touches is over.
LEASE = 60.0
# Seconds after which a reader that nobody hears of is gone: longer than any
# pause between two batches, as evaluations and compilers make them.
READING = 3600.0
_COUNT, _SIGNS = itertools.count(), weakref.WeakSet()


class Claims:
  """The leases of this process on shards of one cache. A context.

  Args:
    folder: of the cache; the leases lie beside it.
    lease: seconds.
  """

  def __init__(self, folder: pathlib.Path, lease: float = LEASE):
    self._at, self._lease = _beside(folder), lease
    self._mine, self._ends = set(), threading.Event()
    self._thread = threading.Thread(target=self._touch, daemon=True)

  def __enter__(self) -> 'Claims':
    self._at.mkdir(parents=True, exist_ok=True)
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._ends.set()
    self._thread.join()
    self.release(list(self._mine))

  def take(self, shards: Iterable[int], most: int) -> list[int]:
    """Up to `most` of these shards that nobody holds; they are held now."""
    taken = []
    for shard in shards:
      if len(taken) == most:
        break
      if self._take(shard):
        taken.append(shard)
    return taken

  def _take(self, shard: int) -> bool:
    path = self._at / str(shard)
    if _living(path, self._lease):
      return False
    with contextlib.suppress(OSError):
      path.unlink()
    try:
      with path.open('x') as file:
        file.write(_here())
    except OSError:
      return False
    self._mine.add(shard)
    return True

  def release(self, shards: Iterable[int]) -> None:
    """Gives shards free that are held here."""
    for shard in shards:
      self._mine.discard(shard)
      with contextlib.suppress(OSError):
        (self._at / str(shard)).unlink()

  def _touch(self) -> None:
    while not self._ends.wait(self._lease / 4):
      for shard in list(self._mine):
        with contextlib.suppress(OSError):
          os.utime(self._at / str(shard))


def held(folder: pathlib.Path, lease: float = LEASE) -> dict[int, str]:
  """{shard: 'host, process'} of the leases on a cache that are not over."""
  out = {}
  for path in _beside(folder).glob('*'):
    holder = _living(path, lease)
    if holder:
      out[int(path.name)] = holder
  return out


class Reading:
  """The sign that this process reads a cache, which nobody deletes then.

  It ends with the object, with its process, or, seen from other machines, when
  it was not touched for `READING` seconds.

  Args:
    folder: of the cache; the sign lies beside it, where that can be written.
  """

  def __init__(self, folder: pathlib.Path):
    at = _readers(folder)
    self._path = at / f'{socket.gethostname()}-{os.getpid()}-{next(_COUNT)}'
    self._touched = time.monotonic()
    with contextlib.suppress(OSError):
      at.mkdir(parents=True, exist_ok=True)
      self._path.write_text(_here())
      weakref.finalize(self, _forget, self._path)
    _SIGNS.add(self)

  def touch(self) -> bool:
    """Goes on with all of this process; whether that was due."""
    now = time.monotonic()
    if now - self._touched < READING / 6:
      return False
    # A validation may come more rarely than signs end.
    for sign in list(_SIGNS):
      sign._touched = now
      with contextlib.suppress(OSError):
        os.utime(sign._path)
    return True


def _forget(path: pathlib.Path) -> None:
  with contextlib.suppress(OSError):
    path.unlink()


def readers(folder: pathlib.Path) -> list[str]:
  """'host, process' of those that read a cache; signs that are over go."""
  out = set()
  for path in _readers(folder).glob('*'):
    who = _living(path, READING)
    out.add(who)
    if not who:
      _forget(path)
  return sorted(out - {''})


def _readers(folder: pathlib.Path) -> pathlib.Path:
  return folder.parent / '.locks' / f'{folder.name}.readers'


def _here() -> str:
  return json.dumps({'host': socket.gethostname(), 'pid': os.getpid()})


def _beside(folder: pathlib.Path) -> pathlib.Path:
  return folder.parent / '.locks' / f'{folder.name}.claims'


def _living(path: pathlib.Path, lease: float) -> str:
  """Who holds a lease, or '' if it is over."""
  try:
    age = time.time() - path.stat().st_mtime
    content = path.read_text()
  except OSError:
    return ''
  if age > lease:
    return ''
  try:
    of = json.loads(content)
    host, pid = of['host'], of['pid']
  except (ValueError, TypeError, KeyError):
    # Another process is about to write it.
    return 'unknown'
  if host == socket.gethostname() and not psutil.pid_exists(pid):
    return ''
  return f'{host}, process {pid}'
