"""`python -m lst.main --config=FILE [--workdir=DIR] [--config.a.b=value]`."""

import os
import pathlib
import sys
import traceback

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file, such as configs/digits.py.',
    lock_config=True)
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

# What a person can mend is told in words, without a trace.
STOPPED, USAGE, INTERRUPTED = 1, 2, 130


def _parse(argv: list[str]) -> list[str]:
  from lst import config, usage
  try:
    rest = flags.FLAGS(argv)
    config.check(_CONFIG.value)
  except Exception as error:
    # Whatever a config file may raise.
    sys.exit(_say(usage.explained(error, argv), USAGE))
  return rest


def _say(message: str, code: int) -> int:
  print(message, file=sys.stderr)
  return code


def main(argv: list[str]) -> int:
  """Runs the config of the flags; returns the exit status.

  In a job of several processes one that fails ends here, without a word to
  the others, which would never come.
  """
  from lst import hosts
  try:
    status = _main(argv)
  except Exception:
    if hosts.alone():
      raise
    traceback.print_exc()
    status = STOPPED
  hosts.leave(status)
  return status


def _main(argv: list[str]) -> int:
  if len(argv) > 1:
    return _say(f'not a flag: {" ".join(argv[1:])}', USAGE)
  from lst import cache, data, hosts, sweep, tasks, train, workdir
  if not flags.FLAGS['verbosity'].present:
    # Orbax and JAX report every move; `-v=0` brings that back.
    logging.set_verbosity(logging.WARNING)
  folder = _WORKDIR.value
  if folder is None:
    path = config_flags.get_config_filename(flags.FLAGS['config'])
    folder = f'runs/{pathlib.Path(path).stem}'
  try:
    config = _CONFIG.value
    hosts.start(
        hosts.asked(
            os.environ, _COORDINATOR.value, _PROCESS.value, _PROCESSES.value),
        config.mesh)
    asked = (part.run for part in (tasks, sweep) if part.asked(_CONFIG.value))
    with hosts.together():
      next(asked, train.run)(_CONFIG.value, folder)
  except (hosts.HostsError, hosts.Preempted) as error:
    if isinstance(error, hosts.Preempted):
      hosts.part()
    return _say(f'{type(error).__name__}: {error}', hosts.RESTART)
  except (
      cache.CacheError, data.DataError, workdir.WorkdirError,
      train.NonFiniteError, ValueError, OSError) as error:
    if flags.FLAGS.verbosity > 0:
      raise
    return _say(f'{type(error).__name__}: {error}', STOPPED)
  except KeyboardInterrupt:
    return _say(
        '\nstopped; the same command goes on from the last checkpoint',
        INTERRUPTED)
  return 0


if __name__ == '__main__':
  app.run(main, flags_parser=_parse)
