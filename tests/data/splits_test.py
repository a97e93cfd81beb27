"""Split strings, and the choice of a source."""

import os
import subprocess
import sys

import pytest

from lst import data
from lst.data.examples import Example
from lst.data.splits import select


def toys(*labels):
  return [Example(b'', label) for label in labels]


def labels(split):
  return [split.source[i].label for i in range(split.size)]


SOURCES = {'train': toys(*range(10)), 'val': toys(*range(100, 104))}


@pytest.mark.parametrize(
  'text, want',
  [
    ('train', list(range(10))),
    ('train[:3]', [0, 1, 2]),
    ('train[80%:]', [8, 9]),
    ('train[-2:]', [8, 9]),
    ('train[:2]+val[50%:]', [0, 1, 102, 103]),
    ('val + train[9:]', [100, 101, 102, 103, 9]),
    ('all', [*range(10), *range(100, 104)]),
  ],
)
def test_names_slices_and_sums(text, want):
  split = select(text, SOURCES, 'toys')
  assert split.name == text and split.size == len(want)
  assert labels(split) == want
  with pytest.raises(IndexError):
    split.source[split.size]


@pytest.mark.parametrize(
  'text, message',
  [
    ('trian', r"toys has no split 'trian'.*'train' \(10\), 'val' \(4\).*"
     r"Did you mean 'train'\?"),
    ('train+vall[:2]', r"no split 'vall' .* Did you mean 'val'\?"),
    ('train[', r"'train\[' of toys cannot be read"),
    ('train[:2][1:]', 'cannot be read'),
    ('train+', 'cannot be read'),
    ('train[1shard:]', 'cannot be read'),
    ('train[:11]', r'cannot be read.*10 examples'),
    ('train[5:5]', 'selects no example'),
    ('train[8:2]', 'selects no example'),
    ('train[8:2]+val', 'selects no example'),
  ],
)
def test_errors_say_what_there_is(text, message):
  with pytest.raises(data.DataError, match=message):
    select(text, SOURCES, 'toys')


def test_a_split_called_all_can_be_sliced():
  split = select('all[:2]+all[75%:]', {'all': toys(*range(4))}, 'toys')
  assert labels(split) == [0, 1, 3]


def test_an_unknown_source_names_the_nearest(make_config):
  with pytest.raises(data.DataError, match=r'digits, tfds.*mean .procedural.'):
    data.build(make_config(name='proceduralle'))
  with pytest.raises(data.DataError, match=r'data\.train is empty'):
    data.build(make_config(train=''))


@pytest.mark.parametrize(('fields', 'said'), [
  ({'seed': -5}, r'config\.data\.seed is -5: set it to -1, which stands for'),
  ({'workers': -1}, r'config\.data\.workers is -1: set it to 0'),
  ({'prefetch': -1}, r'config\.data\.prefetch is -1: set it to 0'),
  *(({'name': name, 'classes': 'names.txt'},
     rf"config\.data\.classes is 'names.txt', but the source {name} brings")
    for name in data.SOURCES if name not in (
      'folder', 'vtab', 'csv', 'video_folder', 'video_csv')),
])
def test_fields_that_would_count_for_nothing_are_refused(
  make_config, fields, said
):
  with pytest.raises(data.DataError, match=said):
    data.build(make_config(**fields))


def test_importing_the_data_is_light():
  """Behind an empty `lst`, as what the whole package imports is its own."""
  folder = os.path.dirname(os.path.dirname(data.__file__))
  code = f"""
import sys, types
package = types.ModuleType('lst')
package.__path__ = [{folder!r}]
sys.modules['lst'] = package
import lst.data
heavy = {{'jax', 'grain', 'sklearn', 'PIL', 'tensorflow_datasets'}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
  subprocess.run([sys.executable, '-c', code], check=True)
