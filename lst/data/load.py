"""From examples to the arrays of a batch."""

import jaxtyping as jt
import numpy as np

from lst.data.decode import RESIZES, RGB, decode, resize
from lst.data.examples import Batch, DataError, Split
from lst.data.splits import nearest
from lst.data.video.clips import BrokenClipError, Clip

Pixels = jt.UInt8[np.ndarray, 't h w 3']
# The index of a row without an example.
PADDING = -1


def image_shape(image_size: int | tuple[int, ...]) -> tuple[int, ...]:
  """([frames,] height, width) from a side or from all."""
  sides = (image_size,) * 2 if isinstance(image_size, int) else image_size
  if min(sides) < 1:
    raise DataError(f'image_size is {image_size}: it counts pixels from 1.')
  return tuple(map(int, sides))


def check_resize(method: str) -> None:
  """Raises DataError unless `method` is in the table."""
  if method not in RESIZES:
    raise DataError(
      f'resize is {method!r}, but the methods are: {", ".join(RESIZES)}.'
      f'{nearest(method, RESIZES)}'
    )


def load_image(
  split: Split, index: int, shape: tuple[int, ...], method: str
) -> tuple[RGB | Pixels, int]:
  """Reads, decodes and resizes one example.

  Returns:
    uint8 (h, w, 3), of a clip (t, h, w, 3), and the label.

  Raises:
    DataError: the image cannot be read; the message names it.
    BrokenClipError: the clip cannot be read; the log names it.
  """
  file = ''
  try:
    image, label = split.source[index]
    if isinstance(image, Clip):
      return image.read(shape, method), label
    if isinstance(image, np.ndarray) and image.ndim == 4:
      # A clip that was made and kept before.
      return image, label
    file = f' (file {image})' if isinstance(image, str) else ''
    return resize(decode(image), shape, method), label
  except (DataError, BrokenClipError):
    raise
  except Exception as error:
    raise DataError(
      f'Example {index} of the split {split.name!r}{file} cannot be read: '
      f'{error}. Replace the image, or take the example out of the data: '
      'nothing is skipped silently.'
    ) from error


class Loader:
  """Makes a batch of the examples at some indices; `PADDING` gives zeros.

  So does a clip that cannot be read: its row is masked, and no other moves.
  """

  def __init__(self, split: Split, shape: tuple[int, ...], method: str):
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
      try:
        image[row], label[row] = load_image(
          self._split, int(indices[row]), self._shape, self._method
        )
      except BrokenClipError:
        mask[row] = 0
    return Batch(image, label, mask)
