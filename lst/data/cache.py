"""Decoded and resized images kept in memory, each made when first asked."""

import math

import numpy as np

from lst.data.examples import Example, Split
from lst.data.load import check_resize, image_shape, load_image


class Cached:
  """Examples whose pixels stay in memory at the size they are used.

  Two threads that meet at an example both decode it and write the same bytes,
  so no lock is needed: `_ready` is set after the pixels are there.
  """

  def __init__(self, split: Split, shape: tuple[int, ...], method: str):
    self.made_for = (shape, method)
    self._split = split
    self._images = np.empty((split.size, *shape, 3), np.uint8)
    self._labels = np.empty(split.size, np.int32)
    self._ready = np.zeros(split.size, bool)

  def __len__(self) -> int:
    return len(self._ready)

  def __getitem__(self, index: int) -> Example:
    if not self._ready[index]:
      self._images[index], self._labels[index] = load_image(
        self._split, index, *self.made_for
      )
      self._ready[index] = True
    return Example(self._images[index], int(self._labels[index]))


def cached(
  split: Split,
  *,
  image_size: int | tuple[int, ...],
  resize: str = 'bilinear',
  max_bytes: int = 2**31,
) -> Split:
  """Keeps the decoded images of a split, if they all fit.

  Args:
    split: the examples; one that is cached for this size already comes back.
    image_size: side, or ([frames,] height, width), in pixels.
    resize: a key of `lst.data.decode.RESIZES`.
    max_bytes: the most that the pixels may take; beyond it nothing is kept.

  Returns:
    A split of the same examples, as uint8 (h, w, 3) of that size. Memory is
    taken as images are first read.
  """
  check_resize(resize)
  shape = image_shape(image_size)
  if getattr(split.source, 'made_for', None) == (shape, resize):
    return split
  if split.size * math.prod(shape) * 3 > max_bytes:
    return split
  return split._replace(source=Cached(split, shape, resize))
