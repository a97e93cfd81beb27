"""Images and clips, cut into patches."""

import math

from jaxtyping import Array, Num


def cut(
    images: Num[Array, 'b *t h w c'], tile: tuple[int, ...]
) -> Num[Array, 'b n p']:
  """The patches of each input, in rows, those of a time before the next.

  Args:
    images: (B, [T,] H, W, C), sides divisible by those of `tile`.
    tile: ([frames,] height, width) of a patch.

  Returns:
    (B, N, P), the P pixels of a patch in the same order.

  >>> import jax.numpy as jnp
  >>> cut(jnp.arange(16).reshape(1, 4, 4, 1), (2, 2))[0, 1].tolist()
  [2, 3, 6, 7]
  """
  batch, *sides, channels = images.shape
  counts = [side // p for side, p in zip(sides, tile, strict=True)]
  split = [n for pair in zip(counts, tile, strict=True) for n in pair]
  axes = range(1, 2 * len(tile) + 1)
  x = images.reshape(batch, *split, channels)
  x = x.transpose(0, *axes[::2], *axes[1::2], len(axes) + 1)
  return x.reshape(batch, math.prod(counts), -1)


def grid(
    patch: int, tubelet: int, height: int, width: int, frames: int
) -> tuple[int, ...]:
  """([times,] rows, columns) of patches of an input.

  Args:
    patch: side of a patch in pixels.
    tubelet: frames that a patch spans; 0 for images.
    height, width: of the input in pixels.
    frames: of a clip; 0 for an image.

  Raises:
    ValueError: it does not divide into patches, or is of the other kind.

  >>> grid(16, 2, 224, 224, frames=16)
  (8, 14, 14)
  """
  if bool(frames) != bool(tubelet):
    raise ValueError(
        'this backbone reads clips (B, T, H, W, 3), no images (B, H, W, 3)'
        if tubelet else
        'this backbone reads images (B, H, W, 3), no clips (B, T, H, W, 3)')
  if frames and frames % tubelet:
    raise ValueError(
        f'a clip of {frames} frames does not divide into tubelets of {tubelet}:'
        f' take a multiple of {tubelet} (config.data.video.frames)')
  if height % patch or width % patch:
    raise ValueError(
        f'an image of {height} x {width} pixels does not divide into patches '
        f'of {patch} x {patch}: resize it to multiples of {patch} '
        '(config.backbone.image_size)')
  times = (frames // tubelet,) if frames else ()
  return (*times, height // patch, width // patch)
