"""What is wrong with a command line, said in words with the nearest right one.
"""

import difflib
import pathlib
import re
import traceback

from lst.config import data, default, flat

_FLAG = re.compile(r'--?config(?:=(.*))?$')
_FIELD = re.compile(r'--?(?:no)?config\.([\w.]+)')
NO_CONFIG = 'which config? Give --config=FILE, such as configs/digits.py'


def config_file(argv: list[str]) -> str | None:
  """The value of `--config=FILE` or `--config FILE`."""
  for argument, following in zip(argv, [*argv[1:], None], strict=True):
    match = _FLAG.match(argument)
    if match:
      return following if match[1] is None else match[1]
  return None


def explained(error: Exception, argv: list[str]) -> str:
  """One message for an error in reading the flags of `argv`."""
  file = config_file(argv)
  if not file:
    return NO_CONFIG
  # A config may take an argument: FILE.py:ARGUMENT.
  path = pathlib.Path(re.sub(r'(\.py):.*', r'\1', file))
  if not path.is_file():
    return _no_file(path)
  place = _place(error, path)
  if place:
    return place
  for argument in argv:
    match = _FIELD.match(argument)
    if match and not _there(match[1]) and not hasattr(default(), match[1]):
      return no_field(match[1])
  return str(error)


def _there(name: str) -> bool:
  """Whether a config has the field, or may have: tasks have names of any kind.
  """
  return name in flat(default()) or (
      name.startswith('tasks.') and name.split('.', 2)[2:] in (
          [], *([field] for field in data())))


def _no_file(path: pathlib.Path) -> str:
  there = {*path.parent.glob('*.py'), *pathlib.Path('configs').glob('*.py')}
  near = difflib.get_close_matches(str(path), sorted(map(str, there)), 1)
  hint = f'; did you mean {near[0]}?' if near else ''
  return f'there is no config file {path}{hint}'


def _place(error: BaseException, path: pathlib.Path) -> str | None:
  """The first error in the config file behind `error`, with its line, if any.
  """
  frame = None
  behind = error
  while behind is not None:
    if isinstance(behind, SyntaxError):
      return f'{path}, line {behind.lineno}: {behind.msg}'
    frames = [
        f for f in traceback.extract_tb(behind.__traceback__)
        if pathlib.Path(f.filename).resolve() == path.resolve()]
    if frames:
      error, frame = behind, frames[-1]
    behind = behind.__context__
  if frame is None:
    return None
  where = f'{path}, line {frame.lineno}'
  field = re.search(r'\.((?:\w+\.)*\w+)\s*[-+*/]?=(?!=)', frame.line or '')
  lacks = isinstance(error, KeyError | AttributeError)
  if lacks and field and not _there(field[1]):
    return f'{where}: {no_field(field[1])}'
  if lacks and field and field[1].startswith('tasks.'):
    task = field[1].split('.')[1]
    return (f'{where}: there is no task {task!r} yet: write config.tasks.{task}'
            ' = lst.config.data() ahead of this line')
  return f'{where}: {type(error).__name__}: {error}'


def no_field(name: str) -> str:
  """Says that there is no such field, which comes nearest, and its neighbours.

  >>> print(no_field('train.batchsize'))
  there is no field config.train.batchsize; did you mean \
config.train.batch_size? config.train has batch_size, checkpoint_steps, \
epochs, eval_batch_size, eval_epochs, log_steps, microbatch
  """
  known = list(flat(default()))
  task = re.match(r'tasks\.[^.]*\.', name)
  if task:
    known = [task[0] + field for field in data()]
  near = difflib.get_close_matches(name, known, 1, 0.5)
  hint = f'; did you mean config.{near[0]}?' if near else ''
  group = task[0] if task else name.split('.')[0] + '.'
  beside = [k.removeprefix(group) for k in known if k.startswith(group)]
  if beside:
    hint += f' config.{group[:-1]} has {", ".join(beside)}'
  return f'there is no field config.{name}{hint}'
