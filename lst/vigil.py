"""A vigil over the processes of a job: who has fallen silent, and since when.

Every process tells, beat by beat, that it lives, in the key-value store that
process 0 keeps for JAX, and looks at what the others told. JAX itself ends a
job that has lost a process, but later, without saying which, and by an abort:
here the others stop ahead of that, in words, and with a status to start again
on.
"""

import ctypes
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

# Beats in the time after which a silent process is lost, but seconds between
# two of them at most.
BEATS, SLOWEST = 10, 2.0
# Beats to wait, once something has failed, to see who is gone: what the others
# told last was read up to one beat late, and one is there for a busy machine.
AFTER = 4
_ROOT, _ALIVE, _LOST = 'lst/', 'alive', 'lost'


@runtime_checkable
class Store(Protocol):
  """Of `jax.distributed`: texts by key, the same in every process."""

  def key_value_set(
      self, key: str, value: str, allow_overwrite: bool = False) -> None:
    """Sets one."""

  def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
    """All whose keys begin so."""


class Vigil:
  """Tells of this process, and looks at the others, in threads of its own.

  Args:
    store: of the job.
    index, count: which process this is, of how many.
    seconds: of silence after which another is lost.
    leave: is told who is lost, and ends this process.
    address: (host, port) of process 0, if it is known.
    clock: () -> seconds.
  """

  def __init__(
      self, store: Store, index: int, count: int, seconds: float,
      leave: Callable[[str], Any], address: tuple[str, int] | None = None,
      clock: Callable[[], float] = time.monotonic):
    self.every = min(seconds / BEATS, SLOWEST)
    self._store, self._index, self._count = store, index, count
    self._seconds, self._leave, self._clock = seconds, leave, clock
    self._address = address
    # Of each process, what it told last and when that came here.
    self._heard = dict.fromkeys(range(count), ('', clock()))
    self._beat, self._found = 0, ''
    self._looks, self._tells = threading.Event(), threading.Event()
    self._threads = [
        threading.Thread(target=_until, daemon=True, args=(done, self.every, f))
        for done, f in ((self._tells, self.tell), (self._looks, self.look))]

  def start(self) -> None:
    """Begins; the threads are two, as a store that is lost may not answer."""
    for thread in self._threads:
      thread.start()

  def rest(self) -> None:
    """Looks no more, as the others may end now; still tells."""
    self._looks.set()

  def close(self) -> None:
    """Ends both; a thread in a call to JAX must not outlive Python."""
    self._looks.set()
    self._tells.set()
    for thread in self._threads:
      if thread.is_alive():
        thread.join(self.every + 1)

  def tell(self) -> None:
    """One beat: tells, and takes in what the others told."""
    self._beat += 1
    try:
      self._store.key_value_set(
          f'{_ROOT}{_ALIVE}/{self._index}', str(self._beat),
          allow_overwrite=True)
      told = self._store.key_value_dir_get(_ROOT)
    except RuntimeError:
      # Process 0 does not answer, or is closing: what counts is how long.
      return
    for key, value in told:
      kind, process = key.split('/')[-2:]
      if kind == _LOST:
        self._found = value
      elif value != self._heard[int(process)][0]:
        self._heard[int(process)] = value, self._clock()

  def look(self) -> None:
    """Leaves if a process is lost, or another process says so."""
    found = self._found or self._silent(self._clock() - self._seconds)
    if found:
      self._spread(found)
      self._leave(found)

  def after_failure(self) -> str:
    """Waits to see who is gone, once something that takes all has failed.

    Returns:
      Who, or '' if all still tell that they live.
    """
    began = self._clock()
    while self._clock() < began + AFTER * self.every and not self._found:
      time.sleep(self.every / 4)
    found = self._found or self._silent(began + 1.5 * self.every)
    self._spread(found)
    return found

  def aborted(self) -> None:
    """As JAX aborts: leaves in words if that is since a process is gone.

    This may run in the very thread that JAX hears from the store in, so the
    store cannot be asked.
    """
    if self._looks.is_set():
      return
    if self._found:
      self._leave(self._found)
    if self._index and self._address and not _listens(*self._address):
      self._leave(
          f'process 0 of {self._count} is gone since {_time(0.0)}: nothing '
          f'listens at {":".join(map(str, self._address))}')
    # Whom JAX missed ahead of us.
    found = self._silent(self._clock() - AFTER * self.every)
    if found:
      self._leave(found)

  def _silent(self, since: float) -> str:
    """Those of whom nothing came after `since`, in words."""
    lost = {process: at for process, (_, at) in self._heard.items()
            if at < since and process != self._index}
    if 0 in lost:
      # It keeps the store: of the others nothing can be known.
      lost = {0: lost[0]}
    now = self._clock()
    return ', '.join(
        f'process {process} of {self._count} is silent since '
        f'{_time(now - at)} ({now - at:.0f} s)' for process, at in lost.items())

  def _spread(self, found: str) -> None:
    """Tells the others, who may not have noticed, while there is a store."""
    if not found or found.startswith('process 0 '):
      return
    try:
      self._store.key_value_set(
          f'{_ROOT}{_LOST}/{self._index}', found, allow_overwrite=True)
    except RuntimeError:
      return
    if not self._index:
      # The store ends with this process.
      time.sleep(3 * self.every)


def _until(done: threading.Event, every: float, f: Callable[[], None]) -> None:
  while not done.wait(every):
    f()


def _time(ago: float) -> str:
  return time.strftime('%H:%M:%S', time.localtime(time.time() - ago))


def _listens(host: str, port: int, tries: int = 3) -> bool:
  """Whether anything accepts connections there, time and again."""
  for _ in range(tries):
    try:
      socket.create_connection((host, port), 1.0).close()
    except OSError:
      return False
    time.sleep(0.1)
  return True


def keep(seconds: float, leave: Callable[[str], Any]) -> Vigil | None:
  """A vigil over the job that this process has joined, begun.

  Returns:
    None where this version of JAX has no such store; then JAX alone watches.
  """
  # JAX has no public names for these; Orbax takes them from here, too.
  try:
    from jax._src.distributed import global_state as job
    store, host = job.client, job.coordinator_address or ''
    host, _, port = host.rpartition(':')
    out = Vigil(
        store, job.process_id, job.num_processes, seconds, leave,
        (host.strip('[]'), int(port)) if host else None)
  except (ImportError, AttributeError):
    return None
  out.start()
  _on_abort(out.aborted)
  return out


# What C calls has to outlive the call that says so.
_HANDLERS: list[Any] = []


def _on_abort(say: Callable[[], None]) -> None:
  """Has `say` called ahead of an abort, which goes on when it returns.

  A handler of `signal` would come too late: Python runs it after the C function
  that was interrupted, and this one never ends.
  """
  libc = ctypes.CDLL(None)
  kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
  libc.signal.argtypes, libc.signal.restype = (
      [ctypes.c_int, kind], ctypes.c_void_p)

  def handle(number: int) -> None:
    say()
    if before:
      # Such as that of `faulthandler`.
      kind(before)(number)

  _HANDLERS.append(kind(handle))
  before = libc.signal(signal.SIGABRT, _HANDLERS[-1])


def end(words: str, status: int) -> None:
  """Writes to stderr and ends this process at once, from any thread."""
  os.write(2, f'\n{words}\n'.encode())
  os._exit(status)
