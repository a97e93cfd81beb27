"""Jobs of several processes that are forked with all imports done.

Starting Python and importing JAX is most of what a tiny run costs; here it is
paid once. Each process is a real one, with devices and a log of its own, and
can be killed.
"""

import pathlib
from collections.abc import Callable

from tests import commands, group


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
      self.processes.append(commands.CONTEXT.Process(target=_main, args=(
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
  commands.become(env, (log, log))
  from tests import forked
  forked.main(flags, devices, compiled)
