"""`python -m lst.vtab prepare|run|report`, see `USAGE`."""

import os

from absl import app, flags

from lst import command

USAGE = """python -m lst.vtab COMMAND [FLAGS]
  prepare   says of each task what there is, what is missing and how to get
      it; reads every image (--noread: only counts); --out=FILE keeps what it
      found, --expect=FILE compares with such a file; status 1 if a task is
      missing or wrong
  run --config=FILE [--config.a.b=value]   tunes on 800 / 200 images over the
      values of config.sweep, trains on the 1,000, tests once, for seeds 0, 1, 2
      (config.sweep.seed for others); the same command goes on where it
      stopped; status 1 if a task failed, 75 if SIGTERM came
  report    shows the folder of a `run`, writes results.csv and table.md
  --suite   vtab (the 19 tasks), bundled (needs no data) or folder (every ready
      folder in --path)
  --path    folder of ready VTAB-1k folders, or of prepared TFDS datasets
  --task    one task or several, a,b; by default all
  --workdir folder of the runs; by default runs/<suite>/<name of the config>"""

_CONFIG = command.define_config()
_SUITE = flags.DEFINE_string('suite', 'vtab', 'vtab, bundled or folder.')
_PATH = flags.DEFINE_string('path', '', 'Folder of the data.')
_TASK = flags.DEFINE_list('task', [], 'Tasks, by default all.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the runs.')
_READ = flags.DEFINE_bool('read', True, 'prepare: read every image.')
_OUT = flags.DEFINE_string('out', '', 'prepare: file for what was found.')
_EXPECT = flags.DEFINE_string('expect', '', 'prepare: file to compare with.')


def _tasks():
  from lst import vtab
  return vtab.select(_SUITE.value, _PATH.value, tuple(_TASK.value))


def _prepare() -> int:
  from lst.vtab import prepare
  return prepare.run(
      _tasks(), read=_READ.value, expect=_EXPECT.value, out=_OUT.value)


def _run() -> int:
  if _CONFIG.value is None:
    return command.say(
        'run needs --config=FILE, such as configs/digits.py', command.USAGE)
  import jax

  from lst import hosts
  from lst.vtab import run
  # Here it is only waited for the runs, to which the devices belong.
  jax.config.update('jax_platforms', 'cpu')
  folder = _folder()
  # What one run compiled, the next of the same shapes takes.
  os.environ.setdefault(
      'JAX_COMPILATION_CACHE_DIR', os.path.abspath(f'{folder}/.compiled'))
  try:
    return run.run(_CONFIG.value, _SUITE.value, _tasks(), folder)
  except hosts.Preempted as error:
    return command.say(
        f'Preempted: {error}; the same command goes on', hosts.RESTART)


def _report() -> int:
  if _WORKDIR.value is None and _CONFIG.value is None:
    return command.say(
        'report needs --workdir=FOLDER, or the --config of the run',
        command.USAGE)
  from lst.vtab import report
  return report.run(_folder())


def _folder() -> str:
  if _WORKDIR.value is not None:
    return _WORKDIR.value
  return f'runs/{_SUITE.value}/{command.config_name()}'


COMMANDS = {'prepare': _prepare, 'run': _run, 'report': _report}


def main(argv: list[str]) -> int:
  """Runs a command; returns the exit status."""
  if len(argv) != 2 or argv[1] not in COMMANDS:
    return command.say(USAGE, command.USAGE)
  from lst import data, workdir
  return command.guarded(
      COMMANDS[argv[1]], (data.DataError, workdir.WorkdirError),
      'the same command goes on with what is left')


if __name__ == '__main__':
  app.run(main, flags_parser=command.parser(_CONFIG, USAGE))
