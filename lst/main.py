"""`python -m lst.main --config=FILE [--workdir=DIR] [--config.a.b=value]`."""

import contextlib
import os
import traceback

from absl import app, flags

from lst import command

_CONFIG = command.define_config()
_WORKDIR = flags.DEFINE_string(
    'workdir', None,
    'Folder of the run; by default runs/<name of the config file>. The same '
    'command again goes on where the run stopped.')
_COORDINATOR = flags.DEFINE_string(
    'coordinator', '', 'HOST:PORT of process 0 of a job of several processes; '
    'SLURM, JobSet, SkyPilot and TPU pods tell it by the environment.')
_PROCESS = flags.DEFINE_integer('process', -1, 'Which process this is.')
_PROCESSES = flags.DEFINE_string(
    'processes', '', 'How many there are; auto asks the metadata of TPU VMs.')


def main(argv: list[str]) -> int:
  """Runs the config of the flags; returns the exit status.

  In a job of several processes one that fails ends here, without waiting for
  the others, which would never come.
  """
  from lst import hosts
  try:
    status = _main(argv)
  except Exception:
    if hosts.alone():
      raise
    traceback.print_exc()
    status = command.STOPPED
  hosts.leave(status)
  return status


def _main(argv: list[str]) -> int:
  if len(argv) > 1:
    return command.say(f'not a flag: {" ".join(argv[1:])}', command.USAGE)
  from lst import cache, data, train, workdir
  return command.guarded(
      _run, (cache.CacheError, data.DataError, workdir.WorkdirError,
             train.NonFiniteError),
      'the same command goes on from the last checkpoint')


def _run() -> int:
  import jax

  from lst import hosts, sweep, tasks, train
  config, folder = _CONFIG.value, _WORKDIR.value
  if folder is None:
    folder = f'runs/{command.config_name()}'
  try:
    hosts.start(
        hosts.asked(
            os.environ, _COORDINATOR.value, _PROCESS.value, _PROCESSES.value),
        config.mesh)
    asked = (part.run for part in (tasks, sweep) if part.asked(config))
    with hosts.together():
      next(asked, train.run)(config, folder)
  except (hosts.HostsError, hosts.Preempted) as error:
    if isinstance(error, hosts.Preempted):
      # All is saved: one that dies on the way out takes nothing with it.
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        hosts.part()
    return command.say(f'{type(error).__name__}: {error}', hosts.RESTART)
  return 0


if __name__ == '__main__':
  app.run(main, flags_parser=command.parser(_CONFIG))
