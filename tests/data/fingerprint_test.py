"""Fingerprints: any image or label counts, and how splits are written not."""

import os

import numpy as np
import pytest

from lst import data
from lst.data import digits, procedural
from lst.data.examples import Example
from lst.data.files import Files
from lst.data.splits import select

EXAMPLES = [
  Example(np.zeros((2, 3), np.uint8), 0), Example(b'encoded', 1),
  Example(np.ones((2, 3), np.uint8), 2),
]


def of(examples):
  return data.fingerprint(data.Split('train', examples))


@pytest.mark.parametrize('other', [
  EXAMPLES[:2],
  EXAMPLES[::-1],
  [*EXAMPLES[:2], Example(np.ones((2, 3), np.uint8), 3)],
  [*EXAMPLES[:2], Example(np.ones((3, 2), np.uint8), 2)],
  [*EXAMPLES[:2], Example(np.full((2, 3), 2, np.uint8), 2)],
  [EXAMPLES[0], Example(b'encodes', 1), EXAMPLES[2]],
])
def test_every_example_counts(other):
  assert of(other) != of(EXAMPLES)
  assert of(list(EXAMPLES)) == of(EXAMPLES)


def test_files_count_by_size_and_time(tmp_path):
  paths = [str(tmp_path / name) for name in 'ab']
  for path in paths:
    with open(path, 'w') as file:
      file.write(path)
    os.utime(path, ns=(10, 10))
  before = of(Files(paths, [0, 1]))
  assert of(Files(paths, [0, 1])) == before
  assert of(Files(paths, [0, 2])) != before
  os.utime(paths[1], ns=(10, 11))
  assert of(Files(paths, [0, 1])) != before
  os.utime(paths[1], ns=(10, 10))
  with open(paths[1], 'a') as file:
    file.write('more')
  os.utime(paths[1], ns=(10, 10))
  assert of(Files(paths, [0, 1])) != before
  os.unlink(paths[1])
  # Whoever reads it says that it is missing: a clip may be, an image may not.
  assert of(Files(paths, [0, 1])) != before


def test_the_same_examples_by_another_split_are_the_same():
  splits = digits.source().splits
  whole, cut, less = (
    data.fingerprint(select(text, splits, 'digits'))
    for text in ('train', 'train[:10]+train[10:]', 'train[1:]')
  )
  assert whole == cut != less


def test_drawn_examples_count_by_name():
  splits = procedural.source('count').splits
  texts = ('train', 'train[:800]', 'val', 'train[:900]')
  prints = {data.fingerprint(select(t, splits, 'count')) for t in texts}
  other = select('train', procedural.source('shape').splits, 'shape')
  assert len(prints | {data.fingerprint(other)}) == 5
