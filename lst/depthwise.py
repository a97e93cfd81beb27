"""Depth-wise convolution over the frames, rows and columns of clips."""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float


def depthwise(
    x: Float[Array, 'b t h w r'], kernel: Float[Array, 'i j k r']
) -> Float[Array, 'b t h w r']:
  """Every channel by itself, zeros around, as many places as before.

  A sum of shifted arrays, one for each tap of the kernel, whose sides are odd:
  3 taps where it is one of time alone.
  """
  sides, sizes = kernel.shape[:3], x.shape[1:4]
  x = jnp.pad(x, [(0, 0), *((side // 2,) * 2 for side in sides), (0, 0)])
  return sum(
      kernel[tap] * x[:, *(
          slice(start, start + size)
          for start, size in zip(tap, sizes, strict=True))]
      for tap in itertools.product(*map(range, sides)))
