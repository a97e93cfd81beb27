"""One run in a process of its own: its peak of memory is its own as well.

SIGTERM, whoever of both gets it, lets the run save the step at hand; then both
end, and the same command goes on.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from lst import hosts
from lst.config import default

# Seconds that a run has to save and end, once it is told to.
GRACE = 120


class RunFailed(Exception):
  """A run did not end; the message says why."""


def run(kind: str, config, folder: str) -> None:
  """Runs `KINDS[kind](config, folder)` in a new process.

  What it prints goes to `folder`/log.txt. It ends with this process, however
  that ends, but saves first if one of both was told to leave.

  Raises:
    RunFailed: with the error's own words.
    lst.hosts.Preempted: one of the two got SIGTERM, and the run has ended.
  """
  context = multiprocessing.get_context('spawn')
  receive, send = context.Pipe(duplex=False)
  flat = config.copy_and_resolve_references().to_dict()
  process = context.Process(
      target=_child, args=(send, kind, flat, folder), daemon=True)
  told = threading.Event()

  def leave(*_) -> None:
    told.set()
    if process.pid:
      process.terminate()

  with on_sigterm(leave):
    process.start()
    if told.is_set():
      process.terminate()
    send.close()
    try:
      message = receive.recv()
    except EOFError:
      message = None
    process.join()
  if told.is_set() or process.exitcode in (hosts.RESTART, -signal.SIGTERM):
    raise hosts.Preempted(message or f'SIGTERM during the run in {folder}')
  if process.exitcode:
    raise RunFailed(
        message or f'its process ended with status {process.exitcode}; see '
        f'{folder}/log.txt')


@contextlib.contextmanager
def on_sigterm(handler: Callable[..., Any]) -> Iterator[None]:
  """Has SIGTERM call `handler` meanwhile; only the main thread may say so."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = signal.signal(signal.SIGTERM, handler)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def _train(config, folder: str) -> None:
  from lst import train
  train.run(config, folder)


def _sweep(config, folder: str) -> None:
  from lst import sweep
  sweep.run(config, folder)


KINDS = {'train': _train, 'sweep': _sweep}


def here(kind: str, config, folder: str) -> None:
  """The same in this process, whose peak of memory is then of all its runs."""
  try:
    KINDS[kind](config, folder)
  except hosts.Preempted:
    raise
  except Exception as error:
    raise RunFailed(f'{type(error).__name__}: {error}') from error


def _child(send, kind: str, flat: dict, folder: str) -> None:
  _guard()
  from absl import logging
  logging.set_verbosity(logging.WARNING)
  os.makedirs(folder, exist_ok=True)
  log = (pathlib.Path(folder) / 'log.txt').open('a')
  os.dup2(log.fileno(), sys.stdout.fileno())
  os.dup2(log.fileno(), sys.stderr.fileno())
  config = default()
  with config.unlocked():
    config.update(flat)
  try:
    here(kind, config, folder)
  except hosts.Preempted as error:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send.send(str(error))
    sys.exit(hosts.RESTART)
  except RunFailed as error:
    send.send(str(error))
    sys.exit(1)
  except KeyboardInterrupt:
    sys.exit(1)


def _guard() -> None:
  """Has the child end in time when it is told to, or nobody waits for it."""
  told, tell = os.pipe()
  os.set_blocking(tell, False)
  # Beside whatever the run does about SIGTERM.
  signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
  signal.signal(signal.SIGTERM, _leave)
  threading.Thread(target=_end, args=(told,), daemon=True).start()


def _leave(*_) -> None:
  """What SIGTERM does ahead of the first step and after the last.

  Of a group the child is told twice, by the sender and by the parent, and may
  be on its way out by then, with a checkpoint in writing.
  """
  if not isinstance(sys.exception(), (hosts.Preempted, SystemExit)):
    sys.exit(hosts.RESTART)


def _end(told: int) -> None:
  """Ends the child with its parent, or `GRACE` after it was told to leave."""
  parent = multiprocessing.parent_process().sentinel
  while told in multiprocessing.connection.wait([parent, told]):
    # Other signals leave their numbers, too.
    if signal.SIGTERM in os.read(told, 4096):
      time.sleep(GRACE)
      os._exit(hosts.RESTART)
  # A run that nobody waits for would hold its folder against the next try.
  os._exit(1)
