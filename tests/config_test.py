"""The schema is locked, every field is read, its defaults are the classes'."""

import inspect
import pathlib
import re

import pytest

from lst import LowRank, SideNetwork, config, side

SOURCE = '\n'.join(
    path.read_text()
    for path in sorted(pathlib.Path(config.__file__).parent.rglob('*.py'))
    if not path.name.startswith('config') and path.name not in (
        'main.py', 'usage.py'))
# What the parts of the config are called where they are read.
READERS = r'\b(?:config(?:\.\w+)?|c)'


@pytest.mark.parametrize('group', [
    '', 'data', 'backbone', 'cache', 'side', 'optimizer', 'train'])
def test_schema_is_locked(group):
  part = config.default()
  part = part[group] if group else part
  with pytest.raises((AttributeError, KeyError)):
    part.new_field = 1
  for name in part:
    with pytest.raises((TypeError, ValueError)):
      part[name] = object()


def reads(name: str) -> bool:
  """Whether a field is read by name: as an attribute or from a tuple of names.
  """
  return bool(re.search(rf"{READERS}\.{name}\b(?!\()", SOURCE)) or bool(
      re.search(rf"for field(?:, known)? in \([^)]*'{name}'", SOURCE))


@pytest.mark.parametrize('name', config.flat(config.default()))
def test_every_field_is_read(name):
  assert reads(name.rpartition('.')[2])


def test_a_field_that_is_not_read_would_be_seen():
  assert not reads('new_field')
  assert reads('batch_size')


def test_defaults_of_the_side_are_those_of_the_classes():
  fields = config.default().side
  built = side.build(fields, 3, cls=True, prefix=1)
  assert built == SideNetwork(LowRank(rank=fields.rank), 3)
  defaults = {
      name: p.default for name, p in inspect.signature(LowRank).parameters
      .items() if p.default is not inspect.Parameter.empty}
  shared = (set(fields) & set(defaults)) - {'name'}
  assert len(shared) >= 7
  for name in shared:
    assert fields[name] == defaults[name], name


def test_flat_names_every_leaf_once():
  flat = config.flat(config.default())
  assert flat['optimizer.lr'] == 1e-3 and flat['seed'] == 0
  assert len(flat) > 30 and not any(
      hasattr(value, 'keys') for value in flat.values())


def test_a_config_that_lacks_a_field_is_refused():
  whole = config.default()
  config.check(whole)
  with whole.unlocked():
    del whole.side.rank
  with pytest.raises(ValueError, match=r'lacks side\.rank'):
    config.check(whole)
