"""The 19 rows of VTAB-1k: their splits, labels and sources."""

import collections

import numpy as np
import pytest
import tensorflow_datasets as tfds

from lst import data
from lst.data import readings
from lst.data.splits import select
from lst.vtab import suites, tasks
from lst.vtab.checks import data_config
from tests.vtab import made

# The examples of each TFDS split, as google-research/task_adaptation has them.
SPLITS = {
    'caltech101': dict(train=3060, test=6084),
    'cifar100': dict(train=50000, test=10000),
    'clevr': dict(train=70000, validation=15000, test=15000),
    'diabetic_retinopathy_detection/btgraham-300': dict(
        train=35126, validation=10906, test=42670, sample=10),
    'dmlab': dict(train=65550, validation=22628, test=22735),
    'dsprites': dict(train=737280),
    'dtd': dict(train=1880, validation=1880, test=1880),
    'eurosat/rgb': dict(train=27000),
    'kitti': dict(train=6347, validation=423, test=711),
    'oxford_flowers102': dict(train=1020, validation=1020, test=6149),
    'oxford_iiit_pet': dict(train=3680, test=3669),
    'patch_camelyon': dict(train=262144, validation=32768, test=32768),
    'resisc45': dict(train=31500),
    'smallnorb': dict(train=24300, test=24300),
    'sun397/tfds': dict(train=76128, validation=10875, test=21750),
    'svhn_cropped': dict(train=73257, test=26032, extra=531131),
}
# Percent of the training split that is not validation, where it is cut so.
CUT = {'caltech101': 90, 'cifar': 90, 'svhn': 90, 'oxford_iiit_pet': 80,
       'clevr_count': 90, 'clevr_dist': 90, 'dsprites_loc': 80,
       'dsprites_ori': 80, 'eurosat': 60, 'resisc45': 60}
ROWS = {row.name: row for row in tasks.ROWS}


class Numbered:
  """Examples that are only their number and split."""

  def __init__(self, name, size):
    self._name, self._size = name, size

  def __len__(self):
    return self._size

  def __getitem__(self, index):
    return data.Example(self._name, index)


def test_there_are_19_in_three_groups():
  assert len(ROWS) == 19
  assert collections.Counter(row.group for row in tasks.ROWS) == {
      'natural': 7, 'specialized': 4, 'structured': 8}


@pytest.mark.parametrize('name', ROWS)
def test_split_strings_give_800_200_1000_and_the_whole_test(name):
  row = ROWS[name]
  sources = {k: Numbered(k, n) for k, n in SPLITS[row.tfds].items()}
  splits = tasks.from_tfds(row, '').splits
  train, val, both, test = (select(text, sources, name) for text in splits)
  sizes = (train.size, val.size, both.size, test.size)
  assert sizes == (800, 200, 1000, row.size)
  ends = [[s.source[0], s.source[s.size - 1]] for s in (train, val, test)]
  ends = [[tuple(example) for example in pair] for pair in ends]
  assert ends[0] == [('train', 0), ('train', 799)]
  if name in CUT:
    first = SPLITS[row.tfds]['train'] * CUT[name] // 100
    assert ends[1] == [('train', first), ('train', first + 199)]
  assert tuple(both.source[799]) == ends[0][1]
  assert tuple(both.source[800]) == ends[1][0]
  # No test image is one of the 1,000.
  if ends[2][0][0] == ends[1][0][0]:
    assert ends[2][0][1] > ends[1][1][1]
  elif ends[2][0][0] == 'train':
    assert ends[2][0][1] >= 800
  # To the last.
  assert ends[2][1][1] == SPLITS[row.tfds][ends[2][1][0]] - 1


LABELS = {
    # Depths of the objects; (count, distance).
    'clevr': [
        ([8.0, 9.0, 11.0], (0, 0)), ([8.01] * 4, (1, 1)),
        ([12.0, 10.0, 10.5, 11.0, 13.0], (2, 4)), ([10.1] * 10, (7, 5))],
    # (type, metres) of the objects.
    'kitti': [
        ([(0, 8.0), (2, 30.0)], 0), ([(1, 8.5), (3, 2.0)], 1),
        ([(2, 20.5)], 2), ([(3, 5.0), (7, 9.0)], 3), ([], 3)],
}


@pytest.mark.parametrize('depths, labels', LABELS['clevr'])
def test_clevr_labels(depths, labels):
  objects = {
      'size': np.zeros(len(depths), int),
      'pixel_coords': np.float32([[1, 2, z] for z in depths])}
  record = {'objects': objects}
  assert readings.READINGS['clevr_count'].label(record) == labels[0]
  assert readings.READINGS['clevr_distance'].label(record) == labels[1]


@pytest.mark.parametrize('objects, label', LABELS['kitti'])
def test_kitti_labels(objects, label):
  record = {'objects': {
      'type': np.array([kind for kind, _ in objects], int),
      'location': np.float32([[0, 0, z] for _, z in objects])}}
  assert readings.READINGS['kitti_distance'].label(record) == label


def test_dsprites_labels():
  """As floor(label / (values / 16)) of f32 numbers."""
  for name, key, values in (
      ('dsprites_x', 'label_x_position', 32),
      ('dsprites_orientation', 'label_orientation', 40)):
    reading = readings.READINGS[name]
    assert reading.features == (key,) and len(reading.classes) == 16
    for value in range(values):
      want = np.floor_divide(np.float32(value), np.float32(values / 16))
      assert reading.label({key: value}) == want


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """Every dataset of the table, two examples a split."""
  tfds.disable_progress_bar()
  root = tmp_path_factory.mktemp('vtab_tfds')
  scene = dict(
      color=0, material=0, rotation=0.0, shape=0, size=0)
  scene |= {'3d_coords': np.zeros(3, np.float32)}
  other = {
      'clevr': {'objects': [
          scene | {'pixel_coords': np.float32([0, 0, z])}
          for z in (9.2, 12, 11, 10)]},
      'dsprites': {
          'label_x_position': 31, 'label_orientation': 12},
      'kitti': {'objects': [dict(
          alpha=0.0, bbox=tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
          dimensions=np.zeros(3, np.float32),
          location=np.float32([0, 0, 12.0]), occluded=0, rotation_y=0.0,
          truncated=0.0, type=2)]},
      'smallnorb': {'label_azimuth': 17, 'label_elevation': 8}}
  for name, splits in SPLITS.items():
    version = next(
        row.versions for row in tasks.ROWS if row.tfds == name)
    made.dataset(
        root, name, version.replace('*', '0'),
        {split: [other.get(name, {'label': 1})] * 2 for split in splits},
        value=int(name == 'dsprites'))
  return root


WANTED = {
    'clevr_count': 1, 'clevr_dist': 3, 'dsprites_loc': 15, 'dsprites_ori': 4,
    'kitti': 1, 'smallnorb_azi': 17, 'smallnorb_ele': 8}


@pytest.mark.parametrize('name', ROWS)
def test_each_row_reads_its_dataset(prepared, name):
  task = {t.name: t for t in suites.select('vtab', str(prepared), ())}[name]
  split = task.splits.test.partition('[')[0]
  found = data.build(data_config(task, split, '', ''))
  assert len(found.classes) == task.classes == ROWS[name].classes
  assert found.name.startswith(f'tfds/{ROWS[name].tfds}/')
  image, label = found.train.source[1]
  assert label == WANTED.get(name, 1)
  pixels = data.decode(image)
  if name.startswith('dsprites'):
    assert pixels.min() == 255 and pixels.shape == (64, 64, 3)


def test_a_reading_that_does_not_fit(prepared):
  task = suites.select('vtab', str(prepared), ('kitti',))[0]
  config = data_config(task, 'train', '', '')
  config.reading = 'kitti_distances'
  with pytest.raises(data.DataError, match=r"Did you mean 'kitti_distance'"):
    data.build(config)
  config.reading = 'dsprites_x'
  with pytest.raises(data.DataError, match=r"no feature 'label_x_position'"):
    data.build(config)
