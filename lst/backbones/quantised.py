"""Frozen kernels in 8 or 4 bits; products with them stay in the float dtype.

Only kernels of the blocks are quantised: they are nearly all of a large
backbone. Nothing is learned through them, so there is no backward pass to get
right, and a side network trained beside them learns what it is served with.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.product import product

# name: (dtype, inputs that share a scale; 0 = all). Sixteen values are too few
# for a whole column, 8 bits are not.
KINDS: dict[str, tuple[Any, int]] = {
    'int8': (jnp.int8, 0),
    'fp8': (jnp.float8_e4m3fn, 0),
    'int4': (jnp.int4, 128),
}


class Quantised(NamedTuple):
  """A kernel (D, F) as small numbers times scales.

  Attributes:
    values: (D, F) in int8, float8_e4m3fn or int4.
    scale: (D / T, F) in f32: one for every T inputs of an output channel.
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
  inputs = kernel.shape[0]
  tile = share if share and inputs % share == 0 else inputs
  out = qwix.quantize(
      jnp.asarray(kernel, jnp.float32), dtype, channelwise_axes=(1,),
      tiled_axes={0: tile})
  return Quantised(out.qvalue, out.scale)


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
