"""Augmentation of a batch of bytes, inside `jit`: crop, flip, blur, colour.

The features are to serve digits, glyphs, signs and textures beside photos, so
some images are blurred to the detail of 8 to 32 pixels, made grey or inverted.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8


def normalise(images: UInt8[Array, 'b h w c']) -> Float[Array, 'b h w c']:
  """Bytes to [-1, 1]: mean 0.5 and standard deviation 0.5 of [0, 1]."""
  return images.astype(jnp.float32) / 127.5 - 1.0


def resample(
    first: Float[Array, ' b'],
    length: Float[Array, ' b'],
    blur: Float[Array, ' b'],
    old: int,
    new: int,
) -> Float[Array, 'b n o']:
  """Per-image matrices that resample a stretch of `old` pixels to `new`.

  Args:
    first: where the stretch begins, in pixels.
    length: how many pixels it takes; negative reads backwards (a flip).
    blur: width of the triangular kernel, in pixels of the image; bilinear
      interpolation is 1.
    old: pixels of the image.
    new: pixels of the result.
  """
  centre = first[:, None] - 0.5 + (
      (jnp.arange(new) + 0.5) / new * length[:, None])
  blur = jnp.maximum(blur, jnp.abs(length) / new)[:, None, None]
  away = jnp.abs(centre[:, :, None] - jnp.arange(old)) / blur
  weights = jnp.maximum(1.0 - away, 0.0) + 1e-6
  return weights / weights.sum(-1, keepdims=True)


def crop(
    key: Key[Array, ''], images: Float[Array, 'b h w c'], size: int
) -> Float[Array, 'b s s c']:
  """Random resized crop, flip and, for a quarter, loss of detail.

  Areas are 0.35 to 1 of the image, aspects 3/4 to 4/3.
  """
  b, side = images.shape[:2]
  keys = jax.random.split(key, 7)
  area = jax.random.uniform(keys[0], (b,), minval=0.35, maxval=1.0)
  aspect = jnp.exp(
      jax.random.uniform(keys[1], (b,), minval=-1, maxval=1) * 0.2877)
  high = jnp.minimum(jnp.sqrt(area / aspect), 1.0) * side
  wide = jnp.minimum(jnp.sqrt(area * aspect), 1.0) * side
  top = jax.random.uniform(keys[2], (b,)) * (side - high)
  left = jax.random.uniform(keys[3], (b,)) * (side - wide)
  flip = jax.random.bernoulli(keys[4], 0.5, (b,))
  left, wide = jnp.where(flip, left + wide, left), jnp.where(flip, -wide, wide)
  blur = 2.0 ** jax.random.uniform(keys[5], (b,), minval=1.0, maxval=3.0)
  blur = jnp.where(jax.random.bernoulli(keys[6], 0.25, (b,)), blur, 1.0)
  rows = resample(top, high, blur, side, size)
  columns = resample(left, wide, blur, side, size)
  images = jnp.einsum('bsh,bhwc->bswc', rows, images)
  return jnp.einsum('btw,bswc->bstc', columns, images)


def colour(
    key: Key[Array, ''], images: Float[Array, 'b h w c']
) -> Float[Array, 'b h w c']:
  """Brightness, contrast and saturation; a tenth grey, a tenth inverted."""
  b = len(images)
  keys = jax.random.split(key, 5)
  shape = (b, 1, 1, 1)
  bright = jax.random.uniform(keys[0], shape, minval=-0.3, maxval=0.3)
  contrast = jax.random.uniform(keys[1], shape, minval=0.7, maxval=1.3)
  saturation = jax.random.uniform(keys[2], shape, minval=0.6, maxval=1.4)
  grey = jax.random.bernoulli(keys[3], 0.1, shape)
  sign = jnp.where(jax.random.bernoulli(keys[4], 0.1, shape), -1.0, 1.0)
  luma = images @ jnp.array([0.299, 0.587, 0.114])
  luma = luma[..., None]
  images = luma + jnp.where(grey, 0.0, saturation) * (images - luma)
  mean = luma.mean((1, 2, 3), keepdims=True)
  return sign * ((images - mean) * contrast + mean + bright)


def augment(
    key: Key[Array, ''], images: UInt8[Array, 'b h w c'], size: int
) -> Float[Array, 'b s s c']:
  """One random view (B, size, size, 3) of each image, in about [-1, 1]."""
  where, how = jax.random.split(key)
  return colour(how, crop(where, normalise(images), size))
