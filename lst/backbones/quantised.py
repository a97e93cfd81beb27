"""Frozen kernels in 8 or 4 bits; products with them stay in the float dtype.

Only kernels of the blocks are quantised: they are nearly all of a large
backbone. Nothing is learned through them, so there is no backward pass to get
right, and a side network trained beside them learns what it is served with.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.product import product

# name: (dtype, inputs that share a scale, at most; 0 = all). Sixteen values are
# too few for a whole column, 8 bits are not.
KINDS: dict[str, tuple[Any, int]] = {
    'int8': (jnp.int8, 0),
    'fp8': (jnp.float8_e4m3fn, 0),
    'int4': (jnp.int4, 128),
}
# Inputs that share a scale, at the least: with fewer, a scale in f32 would take
# more than half of the memory of the numbers that it is of.
LEAST = 16


class Quantised(NamedTuple):
  """A kernel (D, F) as small numbers times scales.

  Attributes:
    values: (D, F) in int8, float8_e4m3fn or int4.
    scale: (D / T, F) in f32: one for every T inputs of an output channel, as
      `tile` has it.
  """

  values: Array
  scale: Array


def quantise(kernel: Float[Array, 'd f'], kind: str) -> Quantised:
  """A kernel in a kind of `KINDS`, by qwix, scaled to its largest values.

  Raises:
    ValueError: qwix is not installed.
  """
  try:
    import qwix
  except ImportError as error:
    raise ValueError(
        f'config.backbone.quantise={kind!r} needs qwix: '
        "pip install -e '.[quantise]'") from error
  dtype, share = KINDS[kind]
  out = qwix.quantize(
      jnp.asarray(kernel, jnp.float32), dtype, channelwise_axes=(1,),
      tiled_axes={0: tile(kernel.shape[0], share)})
  return Quantised(out.qvalue, out.scale)


def tile(inputs: int, share: int) -> int:
  """How many of the inputs of a kernel share a scale.

  The most that divide them, up to `share`. Where that is fewer than `LEAST`,
  as of a prime number of inputs, all do, whatever it costs in accuracy: their
  scales would take the memory that is to be saved.

  Args:
    inputs: D of the kernel.
    share: of `KINDS`; 0 = all.

  >>> tile(768, 128), tile(192, 128), tile(4304, 128), tile(257, 128)
  (128, 96, 16, 257)
  """
  if not share:
    return inputs
  most = max(n for n in range(1, min(share, inputs) + 1) if inputs % n == 0)
  return most if most >= LEAST else inputs


def dequantised(kernel: Quantised) -> Float[Array, 'd f']:
  """The kernel in f32 that `kernel` stands for."""
  values = kernel.values.astype(jnp.float32)
  groups = values.reshape(len(kernel.scale), -1, values.shape[1])
  return (groups * kernel.scale[:, None]).reshape(values.shape)


def times(
    x: Float[Array, 'b n d'], kernel: Float[Array, 'd f'] | Quantised
) -> Float[Array, 'b n f']:
  """`x @ kernel` in f32, operands in `x.dtype`.

  Integers and 8-bit floats are exact in bfloat16, so where a column has one
  scale it is taken out of the product and no scaled kernel is ever formed.
  """
  if not isinstance(kernel, Quantised):
    return product('bnd,df->bnf', x, kernel.astype(x.dtype))
  if len(kernel.scale) == 1:
    y = product('bnd,df->bnf', x, kernel.values.astype(x.dtype))
    return y * kernel.scale[0]
  return product('bnd,df->bnf', x, dequantised(kernel).astype(x.dtype))
