"""The processes of one job: how they meet, agree and end together.

A job is one process on each host, all started by the same command. Process 0
speaks for all: it alone holds the workdir, shows and writes.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lst import vigil
from lst.clusters import HostsError, asked

__all__ = [
    'RESTART', 'HostsError', 'Notice', 'Preempted', 'agreed', 'alone', 'asked',
    'first', 'least', 'leave', 'lost', 'part', 'start', 'together']

# The status of a run that the same command takes up again: it was told to
# leave its machine, or lost a process. EX_TEMPFAIL of sysexits.h.
RESTART = 75
_AGAIN = (
    'the others stop, too. Start all again, in as many processes as there are: '
    'the same command goes on from the last checkpoint')
# Over the processes of the job that this one has joined.
_vigil: vigil.Vigil | None = None


class Preempted(Exception):
  """The run was told to end (SIGTERM) and left a checkpoint."""


def start(arguments: dict[str, Any] | None, config) -> None:
  """Joins the job that `asked` found, ahead of any look at a device.

  Args:
    arguments: what `asked` returned.
    config: `lst.config.default().mesh`.

  Raises:
    HostsError: the processes did not find each other.
  """
  global _vigil
  if arguments is None:
    return
  try:
    jax.distributed.initialize(
        **arguments, initialization_timeout=config.join_seconds,
        # Behind our own vigil, which can say more. JAX counts from the last
        # heartbeat that it had, which may be half as long ago.
        heartbeat_timeout_seconds=3 * config.lost_seconds,
        shutdown_timeout_seconds=config.lost_seconds)
  except (RuntimeError, ValueError) as error:
    raise HostsError(
        f'the processes of this job did not come together: {error}') from error
  _vigil = vigil.keep(config.lost_seconds, _stop)


def _stop(found: str) -> None:
  vigil.end(f'HostsError: {found}: {_AGAIN}', RESTART)


def first() -> bool:
  """Whether this process speaks for all."""
  return jax.process_index() == 0


def agreed(of_first: Callable[[], Any], *kinds: type[Exception]) -> Any:
  """What process 0 gets by `of_first()`, in every process.

  Args:
    of_first: gives what can be written as JSON.
    kinds: errors of it that all processes are to raise.
  """
  if jax.process_count() == 1:
    return of_first()
  told, mine = {}, None
  if first():
    try:
      told = {'value': of_first()}
    except kinds as error:
      mine, told = error, {'kind': kinds.index(_kind(error, kinds)),
                           'error': str(error)}
  told = json.loads(_broadcast(json.dumps(told)))
  if mine is not None:
    raise mine
  if 'kind' in told:
    raise kinds[told['kind']](told['error'])
  return told['value']


def least(value: int | float) -> int | float:
  """The smallest of what the processes have."""
  if jax.process_count() == 1:
    return value
  return float(np.min(multihost_utils.process_allgather(np.float32(value))))


def _kind(error, kinds):
  return next(kind for kind in kinds if isinstance(error, kind))


def _broadcast(text: str) -> str:
  content = np.frombuffer(text.encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
  padded = np.zeros(size, np.uint8)
  if first():
    padded[:] = content
  return bytes(np.asarray(
      multihost_utils.broadcast_one_to_all(padded))).decode()


class Notice:
  """SIGTERM, which asks a run to leave its machine.

  In a job of several processes one of them is enough: JAX's coordination
  service lets all stop at the same step.
  """

  def __init__(self):
    self._came, self._before = threading.Event(), None
    alone = jax.process_count() == 1
    if alone and threading.current_thread() is threading.main_thread():
      self._before = signal.signal(
          signal.SIGTERM, lambda *_: self._came.set())

  def close(self) -> None:
    """Leaves SIGTERM as it was before."""
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)

  def at(self, step: int) -> bool:
    """Whether to stop after `step`; to be asked once a step."""
    if jax.process_count() == 1:
      return self._came.is_set()
    return multihost_utils.reached_preemption_sync_point(step)


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Ends a process of several at once when something fails in it.

  The way out of Python would wait for the others, which wait for this one.

  Raises:
    HostsError: another process has ended; it says which. What failed for that
      reason may have any form: a collective, a barrier, a file.
  """
  try:
    yield
  except Exception as error:
    if alone() or _ours(error):
      raise
    what, found = str(error).partition('\n')[0], _gone()
    collective = isinstance(error, jax.errors.JaxRuntimeError)
    if not found and ('RESOURCE_EXHAUSTED' in what or not collective):
      raise
    raise HostsError(
        f'{found or "a process of this job has stopped"}: {_AGAIN} '
        f'({what[:200]})') from error


def _gone() -> str:
  """Who has ended, once something has failed, in words; '' if none has."""
  return _vigil.after_failure() if _vigil else ''


def lost() -> bool:
  """Whether what is being raised may say that other processes have ended."""
  error = sys.exception()
  return error is not None and not alone() and not _ours(error)


def _ours(error: BaseException) -> bool:
  """Whether it is told in words of its own, in every process."""
  return type(error).__module__.startswith('lst.')


def part() -> None:
  """Ends the job in good order: returns when all processes have come here."""
  if alone():
    return
  if _vigil:
    _vigil.rest()
  jax.distributed.shutdown()
  if _vigil:
    _vigil.close()


def alone() -> bool:
  """Whether this process has joined no job."""
  return not jax.distributed.is_initialized()


def leave(status: int) -> None:
  """Ends this process: with the others, or, if it failed, without waiting."""
  if not status:
    try:
      part()
    except jax.errors.JaxRuntimeError as error:
      _stop('a process of this job ended ahead of the others '
            f'({str(error)[:200]})')
  elif not alone():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
