"""What the command lines share: their config, their words, their status."""

import pathlib
import sys
from collections.abc import Callable

from absl import flags, logging
from ml_collections import config_flags

# `--help` shows the flags defined here as those of whoever asked for them.
flags.disclaim_key_flags()

# Statuses: stopped by what a person can mend, called wrongly, interrupted.
STOPPED, USAGE, INTERRUPTED = 1, 2, 130


def define_config():
  """The flag `--config=FILE` with its `--config.a.b=value`."""
  return config_flags.DEFINE_config_file(
      'config', None, 'Config file, such as configs/digits.py.',
      lock_config=True)


def config_name() -> str:
  """Of the config file in use, without folder and ending."""
  file = config_flags.get_config_filename(flags.FLAGS['config'])
  return pathlib.Path(file).stem


def say(message: str, status: int) -> int:
  """Prints to the errors; returns the status."""
  print(message, file=sys.stderr)
  return status


def parser(config, usage: str = '') -> Callable[[list[str]], list[str]]:
  """For `app.run`: reads the flags, or exits with words in place of a trace.

  Args:
    config: what `define_config` returned.
    usage: of a command that needs no config: what to print where none is given
      and something else is wrong.
  """
  def parse(argv: list[str]) -> list[str]:
    from lst import config as config_lib
    from lst import usage as usage_lib
    try:
      rest = flags.FLAGS(argv)
      if config.value is not None or not usage:
        config_lib.check(config.value)
    except Exception as error:
      # Whatever a config file may raise.
      if usage_lib.config_file(argv) or not usage:
        sys.exit(say(usage_lib.explained(error, argv), USAGE))
      sys.exit(say(f'{error}\n{usage}', USAGE))
    return rest

  return parse


def quiet() -> None:
  """Keeps the reports of libraries back; `-v=0` brings them."""
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)


def guarded(
    run: Callable[[], int], mendable: tuple[type[Exception], ...],
    interrupted: str,
) -> int:
  """The status of `run`; what a person can mend is told without a trace.

  Args:
    run: the command.
    mendable: beside ValueError and OSError.
    interrupted: what to say after Ctrl-C.
  """
  quiet()
  try:
    return run()
  except (*mendable, ValueError, OSError) as error:
    if flags.FLAGS.verbosity > 0:
      raise
    return say(f'{type(error).__name__}: {error}', STOPPED)
  except KeyboardInterrupt:
    return say(f'\nstopped; {interrupted}', INTERRUPTED)
