"""The digits and their fixed split."""

import hashlib
import re

import numpy as np
import pytest

from lst import data

CHECKSUMS = {'train': '9a33279c5a0ba35d', 'test': '13275e9c16dc64a0'}


@pytest.fixture(scope='module')
def digits():
  return data.SOURCES['digits'](None)


def test_the_split_is_stratified_disjoint_and_whole(digits):
  sizes = {name: len(part) for name, part in digits.splits.items()}
  assert sizes == {'train': 1000, 'test': 797}
  train, test = (
    np.bincount([part[i].label for i in range(len(part))], minlength=10)
    for part in digits.splits.values()
  )
  assert (train + test).tolist() == [
    178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
  ]
  assert np.abs(train - 1000 * (train + test) / 1797).max() < 1


def test_the_images_are_grey_from_0_to_255(digits):
  part = digits.splits['train']
  image = np.stack([part[i].image for i in range(100)])
  assert image.dtype == np.uint8 and image.shape == (100, 8, 8)
  assert image.min() == 0 and image.max() == 255
  assert digits.classes == tuple('0123456789')


def test_the_split_is_what_it_was(digits):
  """Published figures are on this split."""
  for name, want in CHECKSUMS.items():
    part = digits.splits[name]
    seen = b''.join(
      part[i].image.tobytes() + bytes([part[i].label])
      for i in range(len(part))
    )
    assert hashlib.sha256(seen).hexdigest()[:16] == want


def test_build_takes_the_splits_asked_for(make_config):
  built = data.build(make_config(train='train[:900]', val='train[900:]'))
  assert (built.train.size, built.val.size, built.test.size) == (900, 100, 797)
  assert built.name == 'digits'
  assert data.build(make_config(test='')).test is None


@pytest.mark.parametrize(('fields', 'said'), [
  ({'train': 'train[:901]', 'val': 'train[900:]'},
   "train='train[:901]' and config.data.val='train[900:]' share 1 ex"),
  ({'train': 'train+test[:5]'}, "config.data.test='test' share 5 examples"),
  ({'val': 'test[:400]'}, "config.data.val='test[:400]' and config.data.test="
   "'test' share 400 examples: what is chosen by those is tested on them"),
])
def test_splits_that_share_examples_are_refused(make_config, fields, said):
  with pytest.raises(data.DataError, match=re.escape(said)):
    data.build(make_config(**fields))
  data.build(make_config(**fields, allow_overlap=True))
