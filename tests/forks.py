"""Jobs of several processes that are forked with all imports done.

Starting Python and importing JAX is most of what a tiny run costs; here it is
paid once. Each process is a real one, with devices and a log of its own, and
can be killed.
"""

import multiprocessing
import os
import pathlib
import signal
import sys
from collections.abc import Callable

from tests import group

_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['tests.forked'])


class Job:
  """The command of a job, running in so many processes.

  Args:
    flags: of `python -m lst.main`.
    count, devices: processes, and devices that they share.
    logs: folder of what each says.
    compiled: folder of what all compile.
    env: which process -> what its environment has beside.
  """

  def __init__(
      self, flags: list[str], count: int, devices: int, logs: pathlib.Path,
      compiled: pathlib.Path, env: Callable[[int], dict[str, str]]):
    logs.mkdir(parents=True)
    port = group.port()
    self.logs = [logs / f'{index}.log' for index in range(count)]
    self.processes = []
    for index, log in enumerate(self.logs):
      own = group.environment(index, count, port) | env(index)
      self.processes.append(_CONTEXT.Process(target=_main, args=(
          flags, own, devices // count, str(log), str(compiled))))
      self.processes[-1].start()

  def kill(self, *indices: int) -> None:
    """SIGKILL to some processes, or to all of them."""
    for index in indices or range(len(self.processes)):
      self.processes[index].kill()

  def ended(self, seconds: float) -> list[tuple[int, str]]:
    """(status, what it said) of each; those that are late are killed.

    Raises:
      AssertionError: some are still there after `seconds`.
    """
    for process in self.processes:
      process.join(seconds)
    late = [k for k, p in enumerate(self.processes) if p.exitcode is None]
    if late:
      self.kill(*late)
    told = [log.read_text() if log.exists() else '' for log in self.logs]
    assert not late, (late, told)
    return [(p.exitcode, text) for p, text in zip(
        self.processes, told, strict=True)]


def _main(flags, env, devices, log, compiled) -> None:
  """One process."""
  file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  for stream in (1, 2):
    os.dup2(file, stream)
  sys.stdout, sys.stderr = (os.fdopen(
      stream, 'w', buffering=1, closefd=False) for stream in (1, 2))
  # The fork server has its own ideas.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  os.environ.update(env)
  from tests import forked
  forked.main(flags, devices, compiled)
