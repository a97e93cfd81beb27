"""Tasks in the schema and on the command line: a slip is told in words."""

import pathlib
import sys

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from lst import config as config_lib
from lst import tasks, usage

FILE = '''from lst.config import data, default


def get_config():
  config = default()
  config.tasks.digits = data()
  {}
  return config
'''


def make_config():
  config = config_lib.default()
  config.tasks.digits = config_lib.data()
  config.tasks.few = config_lib.data()
  return config


def test_tasks_are_part_of_the_schema():
  config = make_config()
  config_lib.check(config)
  assert tasks.asked(config) and not tasks.asked(config_lib.default())
  config.tasks.digits.path = 'x'
  flat = config_lib.flat(config)
  assert flat['tasks.digits.path'] == 'x' and flat['tasks.few.path'] == ''
  assert not any(k.startswith('tasks') for k in config_lib.flat(
      config_lib.default()))


def test_tasks_are_locked():
  config = make_config()
  with pytest.raises(AttributeError):
    config.tasks.digits.pth = 'x'
  with pytest.raises(TypeError):
    config.tasks.digits.path = 3
  # Only whole tasks can be added.
  with pytest.raises(AttributeError):
    config.tsks = 3


@pytest.mark.parametrize('name, value, message', [
    ('a', 3, 'is no data config: write'),
    ('a', ConfigDict({'name': 'digits'}),
     r'lacks tasks\.a\.allow_overlap.*data\(\)'),
    ('a', ConfigDict(dict(config_lib.data(), zzz=1)),
     r'unknown field tasks\.a\.zzz'),
    ('a/b', config_lib.data(), 'cannot be a folder'),
    ('checkpoints', config_lib.data(), 'cannot be a folder'),
])
def test_what_is_no_task_is_refused(name, value, message):
  config = make_config()
  config.tasks[name] = value
  with pytest.raises(ValueError, match=message):
    config_lib.check(config)


# What reads config files calls a method of the past.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module')


def read(path: pathlib.Path, line: str, *arguments: str):
  """The config of a file and flags, or what is said of them."""
  path.write_text(FILE.format(line))
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file(
      'config', lock_config=True, flag_values=values)
  argv = ['main', f'--config={path}', *arguments]
  was, sys.argv = sys.argv, argv
  try:
    values(argv)
    config_lib.check(holder.value)
    return holder.value
  except Exception as error:
    return usage.explained(error, argv)
  finally:
    sys.argv = was


def test_flags_reach_a_task(tmp_path):
  config = read(
      tmp_path / 'c.py', 'config.tasks.few = data()',
      '--config.tasks.digits.path=x', '--config.tasks.few.seed=3')
  assert (config.tasks.digits.path, config.tasks.few.seed) == ('x', 3)


@pytest.mark.parametrize('line, argument, message', [
    ("config.tasks.digits.pth = 'x'", '',
     'line 7: there is no field config.tasks.digits.pth; did you mean '
     'config.tasks.digits.path? config.tasks.digits has allow_overlap'),
    ("config.tasks.few.path = 'x'", '',
     "line 7: there is no task 'few' yet: write config.tasks.few = "),
    ('', '--config.tasks.digits.pth=x',
     'no field config.tasks.digits.pth; did you mean config.tasks.digits.path'),
    ('', '--config.tasks.digits.seed=abc', 'seed=abc'),
    ('', '--config.tasks.digit.path=x', 'digit'),
])
def test_a_slip_names_its_neighbour(tmp_path, line, argument, message):
  said = read(tmp_path / 'c.py', line, *filter(None, [argument]))
  assert isinstance(said, str) and message in said
