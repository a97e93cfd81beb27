"""`python -m lst.vtab prepare|run|report`, see `USAGE`."""

import os
import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

USAGE = """python -m lst.vtab COMMAND [FLAGS]
  prepare   says of each task what there is, what is missing and how to get
      it; reads every image (--noread: only counts); --out=FILE keeps what it
      found, --expect=FILE compares with such a file; status 1 if a task is
      missing or wrong
  run --config=FILE [--config.a.b=value]   tunes on 800 / 200 images over the
      values of config.sweep, trains on the 1,000, tests once, for seeds 0, 1, 2
      (config.sweep.seed for others); the same command goes on where it stopped
  report    shows the folder of a `run`, writes results.csv and table.md
  --suite   vtab (the 19 tasks), bundled (needs no data) or folder (every ready
      folder in --path)
  --path    folder of ready VTAB-1k folders, or of prepared TFDS datasets
  --task    one task or several, a,b; by default all
  --workdir folder of the runs; by default runs/<suite>/<name of the config>"""

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file, such as configs/digits.py.',
    lock_config=True)
_SUITE = flags.DEFINE_string('suite', 'vtab', 'vtab, bundled or folder.')
_PATH = flags.DEFINE_string('path', '', 'Folder of the data.')
_TASK = flags.DEFINE_list('task', [], 'Tasks, by default all.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the runs.')
_READ = flags.DEFINE_bool('read', True, 'prepare: read every image.')
_OUT = flags.DEFINE_string('out', '', 'prepare: file for what was found.')
_EXPECT = flags.DEFINE_string('expect', '', 'prepare: file to compare with.')

STOPPED, USED_WRONGLY, INTERRUPTED = 1, 2, 130


def _tasks():
  from lst import vtab
  return vtab.select(_SUITE.value, _PATH.value, tuple(_TASK.value))


def _prepare() -> int:
  from lst.vtab import prepare
  return prepare.run(
      _tasks(), read=_READ.value, expect=_EXPECT.value, out=_OUT.value)


def _run() -> int:
  if _CONFIG.value is None:
    return _say('run needs --config=FILE, such as configs/digits.py')
  from lst.vtab import run
  folder = _folder()
  # What one run compiled, the next of the same shapes takes.
  os.environ.setdefault(
      'JAX_COMPILATION_CACHE_DIR', os.path.abspath(f'{folder}/.compiled'))
  return run.run(_CONFIG.value, _SUITE.value, _tasks(), folder)


def _report() -> int:
  if _WORKDIR.value is None and _CONFIG.value is None:
    return _say('report needs --workdir=FOLDER, or the --config of the run')
  from lst.vtab import report
  return report.run(_folder())


def _folder() -> str:
  if _WORKDIR.value is not None:
    return _WORKDIR.value
  name = pathlib.Path(
      config_flags.get_config_filename(flags.FLAGS['config'])).stem
  return f'runs/{_SUITE.value}/{name}'


COMMANDS = {'prepare': _prepare, 'run': _run, 'report': _report}


def _say(message: str, code: int = USED_WRONGLY) -> int:
  print(message, file=sys.stderr)
  return code


def _parse(argv: list[str]) -> list[str]:
  from lst import config, usage
  try:
    rest = flags.FLAGS(argv)
    if _CONFIG.value is not None:
      config.check(_CONFIG.value)
  except Exception as error:
    # Whatever a config file may raise.
    if usage.config_file(argv):
      sys.exit(_say(usage.explained(error, argv)))
    sys.exit(_say(f'{error}\n{USAGE}'))
  return rest


def main(argv: list[str]) -> int:
  """Runs a command; returns the exit status."""
  if len(argv) != 2 or argv[1] not in COMMANDS:
    return _say(USAGE)
  from lst import data, workdir
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
  try:
    return COMMANDS[argv[1]]()
  except (data.DataError, workdir.WorkdirError, ValueError, OSError) as error:
    if flags.FLAGS.verbosity > 0:
      raise
    return _say(f'{type(error).__name__}: {error}', STOPPED)
  except KeyboardInterrupt:
    return _say('\nstopped; the same command goes on with what is left',
                INTERRUPTED)


if __name__ == '__main__':
  app.run(main, flags_parser=_parse)
