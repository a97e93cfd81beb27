"""Whether the data of a task are what they should be, image by image."""

import fnmatch
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ml_collections import ConfigDict

from lst import config as config_lib
from lst import data
from lst.vtab.task import BOTH, TRAIN, VAL, Task

THREADS = 4
# Unreadable images of a split that are named; the others are counted.
SHOWN = 3


class Found(NamedTuple):
  """What there is of a task.

  Attributes:
    source: as the data call themselves; '' if there are none.
    sizes: of train, val, both and test.
    classes: how many there are.
    digests: half the sha256 of the 1,000 and of the test images, contents and
      labels, in their order; () if they were not read.
    problems: what is wrong; nothing is to be run with it.
    notes: what one should know.
  """

  source: str = ''
  sizes: tuple[int, ...] = ()
  classes: int = 0
  digests: tuple[str, ...] = ()
  problems: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()


def data_config(task: Task, train: str, val: str, test: str) -> ConfigDict:
  """`lst.config.data()` of some splits of a task."""
  out = config_lib.data()
  out.update(task.data | dict(train=train, val=val, test=test))
  return out


def check(
    task: Task,
    read: bool = True,
    expected: tuple[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Found:
  """Opens the data of a task and compares them with its row.

  Args:
    task: a row.
    read: whether to decode every image, and to take the digests.
    expected: digests; by default those of the row, if it has some.
    progress: (images read, of how many).
  """
  splits = task.splits
  try:
    tuned = data.build(data_config(
        task, splits.train, splits.val, splits.test))
    both = data.build(data_config(task, splits.both, '', ''))
  except data.DataError as error:
    return Found(problems=(str(error),))
  sizes = tuple(
      s.size for s in (tuned.train, tuned.val, both.train, tuned.test))
  problems, notes = _counts(task, sizes, len(tuned.classes))
  notes += _versions(task, tuned.name)
  digests = ()
  if read and not problems:
    digests, problems, more = _read(tuned, both, progress)
    notes += more
    expected = expected or task.digests
    if not problems and expected and tuple(expected) != digests:
      problems.append(
          'the images or labels are others: sha256 of the 1,000 and the test '
          f'{digests}, not {tuple(expected)}')
  return Found(
      tuned.name, sizes, len(tuned.classes), digests, tuple(problems),
      tuple(notes))


def _counts(task: Task, sizes, classes: int) -> tuple[list[str], list[str]]:
  """What is wrong with the numbers of images and classes; what to know."""
  wanted = (TRAIN, VAL, BOTH, task.test)
  problems = [
      f'the split {split!r} has {size:,} images, not {want:,}'
      for split, size, want in zip(task.splits, sizes, wanted, strict=True)
      if want is not None and size != want]
  notes = []
  if task.classes is not None and classes > task.classes:
    problems.append(f'there are {classes} classes, not {task.classes}')
  elif task.classes is not None and classes < task.classes:
    notes.append(
        f'{classes} classes are named or seen, of {task.classes}')
  return problems, notes


def _versions(task: Task, name: str) -> list[str]:
  version = name.rpartition('/')[2]
  if not task.published or not name.startswith('tfds/') or fnmatch.fnmatch(
      version, task.published):
    return []
  return [f'version {version}; VTAB was published with {task.published}']


def _read(tuned, both, progress):
  """(digests of both and test, problems, notes)."""
  total = tuned.train.size + tuned.val.size + both.train.size + tuned.test.size
  done = 0
  images, problems = {}, []
  for name, split in (
      ('train', tuned.train), ('val', tuned.val), ('both', both.train),
      ('test', tuned.test)):
    images[name], wrong = _digests(split)
    problems += wrong
    done += split.size
    progress(done, total)
  if problems:
    return (), problems, []
  if sorted(images['both']) != sorted(images['train'] + images['val']):
    problems.append(
        f'{both.train.name!r} does not hold the images of '
        f'{tuned.train.name!r} and {tuned.val.name!r}')
  notes = []
  twice = len(set(images['both']) & set(images['test']))
  if twice:
    notes.append(f'{twice:,} of the test images are among the 1,000 as well')
  return tuple(
      hashlib.sha256(''.join(images[k]).encode()).hexdigest()[:32]
      for k in ('both', 'test')), problems, notes


def _digests(split: data.Split) -> tuple[list[str], list[str]]:
  """The digest of each example, and what cannot be read."""
  with ThreadPoolExecutor(THREADS) as pool:
    found = list(pool.map(
        lambda index: _digest(split, index), range(split.size)))
  wrong = [x for x in found if isinstance(x, Exception)]
  problems = [str(x) for x in wrong[:SHOWN]]
  if len(wrong) > SHOWN:
    problems.append(
        f'and {len(wrong) - SHOWN:,} more images of {split.name!r}')
  return [x for x in found if isinstance(x, str)], problems


def _digest(split: data.Split, index: int) -> str | data.DataError:
  image = ''
  try:
    image, label = split.source[index]
    data.decode(image)
    content = image
    if isinstance(image, str):
      with open(image, 'rb') as file:
        content = file.read()
    elif not isinstance(image, bytes):
      content = f'{image.shape}'.encode() + image.tobytes()
    return hashlib.sha256(content + f';{label}'.encode()).hexdigest()
  except Exception as error:
    where = f' ({image})' if isinstance(image, str) and image else ''
    return data.DataError(
        f'image {index} of {split.name!r}{where} cannot be read: {error}')
