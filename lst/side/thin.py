"""Thin transformer layers, of which side networks are made."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.product import product

# Channels of a head of the backbones that these stand beside.
HEAD = 64
EPS = 1e-6
Start = Callable[..., Array]
XAVIER = nn.initializers.xavier_uniform()


class ThinBlock(nn.Module):
  """A pre-norm transformer block whose stream and norms are in f32."""

  heads: int

  @nn.compact
  def __call__(
      self, x: Float[Array, 'b n w'], dtype: jnp.dtype
  ) -> Float[Array, 'b n w']:
    """(B, N, W); products take operands in `dtype`."""
    h = nn.LayerNorm(EPS, name='norm1')(x).astype(dtype)
    x = x + attention(self, h, self.heads)
    h = nn.LayerNorm(EPS, name='norm2')(x).astype(dtype)
    return x + mlp(self, h)


def attention(
    module: nn.Module,
    x: Float[Array, 'b m w'],
    heads: int,
    silent: int = 0,
    start: Start = XAVIER,
) -> Float[Array, 'b n w']:
  """What tokens gather from all of them, in f32.

  Args:
    module: that the weights become parameters of.
    x: in the dtype of products.
    heads: divides the width.
    silent: tokens at the start that are gathered from and gather nothing.
    start: of the weight of the output.
  """
  b, _, width = x.shape
  qkv = dense(module, 'qkv', x, 3 * width).astype(x.dtype)
  # Split before they are turned: see `lst.backbones.layers.Attention`.
  q, k, v = (
      part.reshape(b, -1, heads, width // heads).transpose(0, 2, 1, 3)
      for part in jnp.split(qkv, 3, axis=-1))
  q = q[:, :, silent:] * q.shape[-1] ** -0.5
  weights = jax.nn.softmax(product('bhnd,bhmd->bhnm', q, k)).astype(x.dtype)
  y = product('bhnm,bhmd->bhnd', weights, v).astype(x.dtype)
  y = y.transpose(0, 2, 1, 3).reshape(b, -1, width)
  return dense(module, 'out', y, width, start)


def mlp(module: nn.Module, x: Float[Array, 'b n w']) -> Float[Array, 'b n w']:
  """Two dense layers, the hidden one 4 times as wide, in f32."""
  h = nn.gelu(dense(module, 'mlp_up', x, 4 * x.shape[-1])).astype(x.dtype)
  return dense(module, 'mlp_down', h, x.shape[-1])


def dense(
    module: nn.Module,
    name: str,
    x: Float[Array, 'b n w'],
    features: int,
    start: Start = XAVIER,
) -> Float[Array, 'b n f']:
  """A dense layer with a bias, whose weights are parameters of `module`."""
  kernel = module.param(f'{name}_kernel', start, (x.shape[-1], features))
  bias = module.param(f'{name}_bias', nn.initializers.zeros, (features,))
  return product('bnd,df->bnf', x, kernel.astype(x.dtype)) + bias


def check_skip(skip: int, taps: int) -> None:
  """Raises ValueError unless a block keeps its side block."""
  if not 0 <= skip < taps:
    raise ValueError(
        f'skip={skip} has to be from 0 to {taps - 1}: one of the {taps} blocks '
        'keeps its side block')


def thinner(width: int, reduction: int) -> int:
  """The width of a side network, or a ValueError."""
  if not 1 <= reduction <= width:
    raise ValueError(f'reduction={reduction} has to be from 1 to {width}')
  return width // reduction


def heads_of(width: int, reduction: int) -> int:
  """As many heads as the backbone has, if the thin width divides into them.

  >>> heads_of(768, 8), heads_of(192, 8), heads_of(96, 8)
  (12, 3, 1)
  """
  most = max(width // HEAD, 1)
  return max(h for h in range(1, most + 1) if width // reduction % h == 0)
