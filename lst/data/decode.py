"""From an encoded image to RGB pixels of the size asked for."""

import io
from typing import Any, NamedTuple

import jaxtyping as jt
import numpy as np

# Formats of Pillow whose grey has 8 or 16 bits, in whatever mode it comes.
OF_16_BITS = ('PNG', 'PPM')
RGB = jt.UInt8[np.ndarray, 'h w 3']
Resized = jt.UInt8[np.ndarray, 'H W 3']


def decode(image: bytes | str | np.ndarray) -> RGB:
  """Decodes one image to 8-bit RGB.

  Grey is repeated, a palette looked up, CMYK converted, 16-bit grey cut to
  its upper 8 bits, 32-bit grey taken as it is where it fits into 8, and
  transparency dropped without blending. The EXIF orientation is *not* applied:
  the pixels come as they are stored, as in TFDS and the published VTAB figures.

  Args:
    image: an encoded file as bytes, its path, or pixels as uint8 (h, w, 3) or
      (h, w).

  Returns:
    uint8 (h, w, 3).

  Raises:
    OSError: the file is missing, truncated or no image.
    ValueError: its pixels have no 8-bit RGB reading.
  """
  if isinstance(image, np.ndarray):
    return _from_array(image)
  from PIL import Image

  file = io.BytesIO(image) if isinstance(image, bytes) else image
  with Image.open(file) as opened:
    opened.load()
    if opened.mode in ('I', 'F') or opened.mode.startswith('I;16'):
      return _from_deep(opened)
    # By way of RGBA, or Pillow warns of palettes with transparent entries.
    rgba = opened.convert('RGBA') if opened.mode == 'P' else opened
    return np.asarray(rgba.convert('RGB'))


def _from_array(pixels: np.ndarray) -> RGB:
  if pixels.ndim == 2:
    pixels = np.repeat(pixels[:, :, None], 3, axis=2)
  if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
    raise ValueError(
      f'an array of {pixels.dtype} {pixels.shape} is no image: give uint8 of '
      '(h, w, 3) or (h, w)'
    )
  return pixels


def _from_deep(opened) -> RGB:
  """The upper 8 of 16 bits, as libpng and TensorFlow cut them; 8 of 32."""
  pixels = np.asarray(opened)
  # Pillow opens 16 bits in 32 where a format has no deeper ones.
  of_16 = opened.mode != 'I' or opened.format in OF_16_BITS
  most = 65535 if of_16 else 255
  if pixels.dtype.kind == 'f' or pixels.min() < 0 or pixels.max() > most:
    raise ValueError(
      f'mode {opened.mode} with values from {pixels.min()} to {pixels.max()} '
      'has no 8-bit reading: convert it to 8- or 16-bit first'
    )
  shift = 8 if of_16 else 0
  return _from_array((pixels.astype(np.int64) >> shift).astype(np.uint8))


def _pil(filter_name: str):
  """Antialiased resizing with a filter of Pillow."""

  def resize(pixels: RGB, height: int, width: int) -> Resized:
    from PIL import Image

    image = Image.fromarray(pixels)
    filter_ = Image.Resampling[filter_name]
    return np.asarray(image.resize((width, height), filter_))

  return resize


class _Taps(NamedTuple):
  """For each output position its two inputs and the weight of the second."""

  low: np.ndarray
  high: np.ndarray
  weight: np.ndarray


def _taps(size_in: int, size_out: int) -> _Taps:
  centres = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
  floor = np.floor(centres)
  low, high = (
    np.clip(floor + step, 0, size_in - 1).astype(np.int64) for step in (0, 1)
  )
  return _Taps(low, high, (centres - floor).astype(np.float32))


def _bilinear_tf(pixels: RGB, height: int, width: int) -> Resized:
  """Bilinear without antialiasing, as `tf.image.resize` does by default."""
  rows, columns = _taps(pixels.shape[0], height), _taps(pixels.shape[1], width)
  x = pixels.astype(np.float32)
  w = rows.weight[:, None, None]
  x = x[rows.low] * (1 - w) + x[rows.high] * w
  w = columns.weight[None, :, None]
  x = x[:, columns.low] * (1 - w) + x[:, columns.high] * w
  return np.rint(x).astype(np.uint8)


RESIZES = {
  'bilinear': _pil('BILINEAR'),
  'bicubic': _pil('BICUBIC'),
  'bilinear_tf': _bilinear_tf,
}


def resize(pixels: RGB, size: tuple[int, int], method: str) -> Resized:
  """Resizes straight to `size`, whatever that does to the proportions.

  Args:
    pixels: uint8 (h, w, 3).
    size: (height, width) in pixels.
    method: 'bilinear' or 'bicubic' (antialiased, as Pillow has them), or
      'bilinear_tf' (TensorFlow's default, without antialiasing, rounded).

  Returns:
    uint8 (height, width, 3); the same array where the size is right already.
  """
  if pixels.shape[:2] == tuple(size):
    return pixels
  return RESIZES[method](pixels, *size)


def normalise(
  image: jt.Num[Any, '*b h w 3'],
  mean: tuple[float, float, float],
  std: tuple[float, float, float],
) -> jt.Float32[Any, '*b h w 3']:
  """Takes 0..255 to what a backbone expects: (image / 255 - mean) / std.

  Takes NumPy or JAX arrays and gives the same kind; called on the device,
  inside the step, it lets images travel as uint8.

  >>> normalise(np.full((1, 1, 3), 255, np.uint8), (0.5,) * 3, (0.5,) * 3)
  array([[[1., 1., 1.]]], dtype=float32)
  """
  mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
  return (image.astype(np.float32) / np.float32(255) - mean) / std
