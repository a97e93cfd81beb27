"""`python -m lst.search --config=FILE [--workdir=DIR] [--config.a.b=value]`."""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file, such as configs/digits.py.',
    lock_config=True)
_WORKDIR = flags.DEFINE_string(
    'workdir', None,
    'Folder of what is found; by default runs/<name of the config>-search.')

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
  """Searches with the config of the flags; returns the exit status."""
  if len(argv) > 1:
    return _say(f'not a flag: {" ".join(argv[1:])}', USAGE)
  from lst import cache, data, search
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
  folder = _WORKDIR.value
  if folder is None:
    path = config_flags.get_config_filename(flags.FLAGS['config'])
    folder = f'runs/{pathlib.Path(path).stem}-search'
  try:
    search.run(_CONFIG.value, folder)
  except (cache.CacheError, data.DataError, ValueError, OSError) as error:
    if flags.FLAGS.verbosity > 0:
      raise
    return _say(f'{type(error).__name__}: {error}', STOPPED)
  except KeyboardInterrupt:
    return _say('\nstopped; nothing was written', INTERRUPTED)
  return 0


if __name__ == '__main__':
  app.run(main, flags_parser=_parse)
