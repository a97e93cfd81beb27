"""From examples to the arrays of a batch."""

import numpy as np

from lst.data.decode import RESIZES, RGB, decode, resize
from lst.data.examples import Batch, DataError, Split
from lst.data.splits import nearest

# The index of a row without an example.
PADDING = -1


def image_shape(image_size: int | tuple[int, int]) -> tuple[int, int]:
  """(height, width) from a side or from both."""
  both = (image_size,) * 2 if isinstance(image_size, int) else image_size
  height, width = both
  if height < 1 or width < 1:
    raise DataError(f'image_size is {image_size}: it counts pixels from 1.')
  return int(height), int(width)


def check_resize(method: str) -> None:
  """Raises DataError unless `method` is in the table."""
  if method not in RESIZES:
    raise DataError(
      f'resize is {method!r}, but the methods are: {", ".join(RESIZES)}.'
      f'{nearest(method, RESIZES)}'
    )


def load_image(
  split: Split, index: int, shape: tuple[int, int], method: str
) -> tuple[RGB, int]:
  """Reads, decodes and resizes one example.

  Returns:
    uint8 (h, w, 3) and the label.

  Raises:
    DataError: the image cannot be read; the message names it.
  """
  file = ''
  try:
    image, label = split.source[index]
    file = f' (file {image})' if isinstance(image, str) else ''
    return resize(decode(image), shape, method), label
  except DataError:
    raise
  except Exception as error:
    raise DataError(
      f'Example {index} of the split {split.name!r}{file} cannot be read: '
      f'{error}. Replace the image, or take the example out of the data: '
      'nothing is skipped silently.'
    ) from error


class Loader:
  """Makes a batch of the examples at some indices; `PADDING` gives zeros."""

  def __init__(self, split: Split, shape: tuple[int, int], method: str):
    check_resize(method)
    self._split = split
    self._shape = shape
    self._method = method

  def __call__(self, indices: np.ndarray) -> Batch:
    """The batch of these indices (b,), in their order."""
    image = np.zeros((len(indices), *self._shape, 3), np.uint8)
    label = np.zeros(len(indices), np.int32)
    mask = (indices != PADDING).astype(np.float32)
    for row in np.flatnonzero(mask):
      image[row], label[row] = load_image(
        self._split, int(indices[row]), self._shape, self._method
      )
    return Batch(image, label, mask)
