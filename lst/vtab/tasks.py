"""VTAB-1k: the 19 tasks as one table.

Zhai et al., "A Large-scale Study of Representation Learning with the Visual
Task Adaptation Benchmark", arXiv 1910.04867. Splits, sizes and labels are those
of google-research/task_adaptation: `data/*.py`, sizes in `data/*_test.py`,
which tasks in `scripts/run_all_tasks.sh`.
"""

import os
from typing import NamedTuple

from lst.vtab.task import (
    NATURAL,
    SPECIALIZED,
    STRUCTURED,
    Splits,
    Task,
)


class Row(NamedTuple):
  """One task as published.

  Attributes:
    name: as ready VTAB-1k folders call it.
    classes: how many there are.
    tfds: name and config.
    versions: of TFDS.
    val: split string of the 200; the 800 are 'train[:800]' in every task.
    test: split string of the test images.
    size: how many test images there are.
    label: the feature that is the label, or a key of
      `lst.data.readings.READINGS` where it is calculated.
    also: other names of a ready folder.
  """

  name: str
  group: str
  classes: int
  tfds: str
  versions: str
  val: str
  test: str
  size: int
  label: str = 'label'
  also: tuple[str, ...] = ()


_N, _SP, _ST = NATURAL, SPECIALIZED, STRUCTURED
_VALIDATION = 'validation[:200]'
ROWS = (
    # 90 % of the 3,060.
    Row('caltech101', _N, 102, 'caltech101', '3.*.*', 'train[2754:2954]',
        'test', 6084),
    # 90 % of the 50,000.
    Row('cifar', _N, 100, 'cifar100', '3.*.*', 'train[45000:45200]', 'test',
        10000, also=('cifar100', 'cifar_100')),
    Row('dtd', _N, 47, 'dtd', '3.*.*', _VALIDATION, 'test', 1880),
    Row('oxford_flowers102', _N, 102, 'oxford_flowers102', '2.*.*',
        _VALIDATION, 'test', 6149, also=('flowers102',)),
    # 80 % of the 3,680.
    Row('oxford_iiit_pet', _N, 37, 'oxford_iiit_pet', '3.*.*',
        'train[2944:3144]', 'test', 3669, also=('pets',)),
    Row('sun397', _N, 397, 'sun397/tfds', '4.*.*', _VALIDATION, 'test', 21750),
    # 90 % of the 73,257.
    Row('svhn', _N, 10, 'svhn_cropped', '3.*.*', 'train[65931:66131]', 'test',
        26032),
    Row('diabetic_retinopathy', _SP, 5,
        'diabetic_retinopathy_detection/btgraham-300', '3.*.*', _VALIDATION,
        'test', 42670, also=('retinopathy',)),
    # 60 % and 80 % of the 27,000.
    Row('eurosat', _SP, 10, 'eurosat/rgb', '2.*.*', 'train[16200:16400]',
        'train[21600:]', 5400),
    Row('patch_camelyon', _SP, 2, 'patch_camelyon', '2.*.*', _VALIDATION,
        'test', 32768),
    # 60 % and 80 % of the 31,500.
    Row('resisc45', _SP, 45, 'resisc45', '3.*.*', 'train[18900:19100]',
        'train[25200:]', 6300),
    Row('clevr_count', _ST, 8, 'clevr', '3.*.*', 'train[63000:63200]',
        'validation', 15000, 'clevr_count'),
    Row('clevr_dist', _ST, 6, 'clevr', '3.*.*', 'train[63000:63200]',
        'validation', 15000, 'clevr_distance'),
    Row('dmlab', _ST, 6, 'dmlab', '2.0.1', _VALIDATION, 'test', 22735),
    # 80 % and 90 % of the 737,280.
    Row('dsprites_loc', _ST, 16, 'dsprites', '2.*.*', 'train[589824:590024]',
        'train[663552:]', 73728, 'dsprites_x'),
    Row('dsprites_ori', _ST, 16, 'dsprites', '2.*.*', 'train[589824:590024]',
        'train[663552:]', 73728, 'dsprites_orientation'),
    Row('kitti', _ST, 4, 'kitti', '3.1.0', _VALIDATION, 'test', 711,
        'kitti_distance'),
    # The second half of the 24,300; the 200 are from the first.
    Row('smallnorb_azi', _ST, 18, 'smallnorb', '2.*.*', 'test[:200]',
        'test[12150:]', 12150, 'label_azimuth'),
    Row('smallnorb_ele', _ST, 9, 'smallnorb', '2.*.*', 'test[:200]',
        'test[12150:]', 12150, 'label_elevation'),
)
# What TFDS cannot fetch by itself.
BY_HAND = {
    'diabetic_retinopathy': (
        'It needs an account: accept the terms of kaggle.com/c/'
        'diabetic-retinopathy-detection, unpack test.zip, sample.zip, '
        'sampleSubmissions.csv and trainLabels.csv into the manual folder of '
        'TFDS.'),
    'resisc45': (
        'TFDS asks for NWPU-RESISC45.rar, from the links of its authors, '
        'unpacked in its manual folder.'),
}
FOLDER_SPLITS = Splits('train800', 'val200', 'train800val200', 'test')


def fields(**named: str) -> dict[str, str]:
  """The fields of `config.data` that name a source, all of them."""
  return dict(
      name='', path='', task='', classes='', image_key='image',
      label_key='label', reading='') | named


def from_tfds(row: Row, path: str) -> Task:
  """A task of a TFDS dataset that is prepared in `path`, or is to be."""
  label = dict(label_key=row.label)
  if not row.label.startswith('label'):
    label = dict(reading=row.label)
  train = 'train[:800]'
  return Task(
      row.name, row.group, row.classes, row.size,
      Splits(train, row.val, f'{train}+{row.val}', row.test),
      fields(name='tfds', path=path, task=row.tfds, **label),
      BY_HAND.get(row.name, ''), row.versions)


def from_folder(row: Row, folder: str) -> Task:
  """A task of a ready folder."""
  return Task(
      row.name, row.group, row.classes, row.size, FOLDER_SPLITS,
      fields(name='vtab', path=folder))


def vtab(path: str) -> tuple[Task, ...]:
  """All 19, each from its ready folder in `path` if there is one, else TFDS."""
  out, path = [], os.path.expanduser(path)
  for row in ROWS:
    folders = [os.path.join(path, name) for name in (row.name, *row.also)]
    ready = [x for x in folders if path and is_ready(x)]
    out.append(
        from_folder(row, ready[0]) if ready else from_tfds(row, path))
  return tuple(out)


def is_ready(folder: str) -> bool:
  """Whether a folder has any list of the VTAB-1k layout."""
  return any(os.path.isfile(os.path.join(folder, f'{name}.txt'))
             for name in FOLDER_SPLITS)
