"""The 1,797 handwritten digits that scikit-learn carries: real, offline."""

import functools

import numpy as np

from lst.data.examples import Example, Source

TRAIN = 1000
CLASSES = tuple('0123456789')


class Arrays:
  """Examples held in memory: images (n, h, w) or (n, h, w, 3), labels (n,)."""

  def __init__(self, images: np.ndarray, labels: np.ndarray):
    self._images = images
    self._labels = labels

  def __len__(self) -> int:
    return len(self._labels)

  def __getitem__(self, index: int) -> Example:
    return Example(self._images[index], int(self._labels[index]))


def split_indices(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The fixed split of labels (n,): 1,000 'train', the other 797 'test'.

  Each class is shuffled by `np.random.RandomState(0)` (a frozen generator),
  classes in order; class c gives floor(1000 n_c / n) examples to training and
  the rest of the 1,000 go to the largest remainders.
  """
  random = np.random.RandomState(0)
  counts = np.bincount(labels)
  exact = TRAIN * counts / len(labels)
  take = np.floor(exact).astype(int)
  missing = TRAIN - take.sum()
  take[np.argsort(take - exact, kind='stable')[:missing]] += 1
  train, test = [], []
  for label, number in enumerate(take):
    order = random.permutation(np.flatnonzero(labels == label))
    train.append(order[:number])
    test.append(order[number:])
  return tuple(random.permutation(np.concatenate(p)) for p in (train, test))


def source() -> Source:
  """The digits as 8 x 8 grey images, 0..16 scaled to 0..255."""
  images, labels = _read()
  parts = split_indices(labels)
  splits = {
    name: Arrays(images[part], labels[part])
    for name, part in zip(('train', 'test'), parts, strict=True)
  }
  return Source('digits', splits, CLASSES)


@functools.cache
def _read() -> tuple[np.ndarray, np.ndarray]:
  """All images and labels, whose text is taken apart once."""
  # Imported here: it takes most of a second.
  from sklearn.datasets import load_digits

  digits = load_digits()
  return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target
