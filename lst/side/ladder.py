"""LST: a ladder of thin transformer blocks beside a frozen backbone."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features
from lst.product import by_row, kept, product
from lst.side.refined import Added, Refined

# Of a gate sigmoid(g / temperature), g = 0 at the start.
TEMPERATURE = 0.1
# Channels of a head of the backbones that this stands beside.
HEAD = 64
EPS = 1e-6


class Ladder(nn.Module):
  """LST (Sung et al., "Ladder side-tuning", NeurIPS 2022).

  With b_i the output of block i, a gate m_i and D / reduction channels,

      h_1 = block_1(b_1 Wd_1),
      h_i = block_i(m_i h_{i-1} + (1 - m_i) b_i Wd_i),  m_i = sigmoid(g_i / 0.1)
      y   = norm(h_L) Wu

  Blocks are pre-norm transformer blocks that are `reduction` times thinner in
  every width; gates start at 1/2. The ladder starts at the first block's
  output, where the authors' starts at the embedding; the classifier is a new
  one. They take initial weights from the backbone's own, pruned; here they are
  random.

  Attributes:
    reduction: r, how many times thinner than the backbone.
    skip: blocks at the start of the backbone without a side block.
    add_last: y = b_L + norm(h_L) Wu with Wu zero at first, so that it starts
      as the backbone (our choice; the authors do not).
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = False

  reduction: int = 8
  skip: int = 0
  add_last: bool = False

  def prepare(self, features: Features) -> Features:
    """The features as they are: parameters touch every tap."""
    return features

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Features with L taps (B, N, D) to refined tokens."""
    taps, width = features.taps, features.taps[-1].shape[-1]
    if not 0 <= self.skip < len(taps):
      raise ValueError(
          f'skip={self.skip} has to be from 0 to {len(taps) - 1}: one of the '
          f'{len(taps)} blocks keeps its side block')
    if not 1 <= self.reduction <= width:
      raise ValueError(
          f'reduction={self.reduction} has to be from 1 to {width}')
    thin, h = width // self.reduction, None
    for i, tap in enumerate(taps):
      if i < self.skip:
        continue
      down = self.param(f'down_{i}', _in_rows, (thin, width))
      x = by_row(tap, down) + self.param(
          f'down_{i}_bias', nn.initializers.zeros, (thin,))
      if h is not None:
        gate = self.param(f'gate_{i}', nn.initializers.zeros, ())
        gate = jax.nn.sigmoid(gate / TEMPERATURE)
        x = gate * h + (1 - gate) * x
      h = ThinBlock(heads_of(width, self.reduction), name=f'block_{i}')(
          x, tap.dtype)
    h = nn.LayerNorm(EPS, name='norm')(h).astype(taps[-1].dtype)
    up = self.param(
        'up', nn.initializers.zeros if self.add_last else
        nn.initializers.lecun_normal(), (thin, width))
    return Refined(
        taps[-1], Added(channel=((kept(h), up),)), float(self.add_last))


class ThinBlock(nn.Module):
  """A pre-norm transformer block whose stream and norms are in f32."""

  heads: int

  @nn.compact
  def __call__(
      self, x: Float[Array, 'b n w'], dtype: jnp.dtype
  ) -> Float[Array, 'b n w']:
    """(B, N, W); products take operands in `dtype`."""
    b, n, width = x.shape
    h = nn.LayerNorm(EPS, name='norm1')(x).astype(dtype)
    qkv = self._dense('qkv', h, 3 * width).astype(dtype)
    q, k, v = qkv.reshape(b, n, 3, self.heads, -1).transpose(2, 0, 3, 1, 4)
    scores = product('bhnd,bhmd->bhnm', q * q.shape[-1] ** -0.5, k)
    weights = jax.nn.softmax(scores).astype(dtype)
    y = product('bhnm,bhmd->bhnd', weights, v).astype(dtype)
    y = y.transpose(0, 2, 1, 3).reshape(b, n, width)
    x = x + self._dense('out', y, width)
    h = nn.LayerNorm(EPS, name='norm2')(x).astype(dtype)
    h = nn.gelu(self._dense('mlp_up', h, 4 * width)).astype(dtype)
    return x + self._dense('mlp_down', h, width)

  def _dense(self, name, x, features):
    kernel = self.param(
        f'{name}_kernel', nn.initializers.xavier_uniform(),
        (x.shape[-1], features))
    bias = self.param(f'{name}_bias', nn.initializers.zeros, (features,))
    return product('bnd,df->bnf', x, kernel.astype(x.dtype)) + bias


def heads_of(width: int, reduction: int) -> int:
  """As many heads as the backbone has, if the thin width divides into them.

  >>> heads_of(768, 8), heads_of(192, 8), heads_of(96, 8)
  (12, 3, 1)
  """
  most = max(width // HEAD, 1)
  return max(h for h in range(1, most + 1) if width // reduction % h == 0)


_in_rows = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
