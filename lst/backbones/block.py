"""A transformer block, whose halves are traced once for their shapes."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from lst.backbones import layers

# `at(k, x) -> x` is called on each of the 2L + 1 states; see `ViT`.
At = Callable[[int, Array], Array]


def unchanged(k: int, x: Array) -> Array:
  """The default hook: goes on with the state as it is."""
  del k
  return x


class Block(layers.Module):
  """One pre-norm transformer block: attention, then an MLP."""

  heads: int
  hidden: int
  activation: str
  gated: bool
  qkv_bias: bool
  layer_scale: bool
  eps: float
  # Which of the two are run: both, but at the ends of a part of a network.
  attends: bool = True
  mixes: bool = True

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b n d'],
      at: At | None,
      layer: int,
      rotate: Callable[[Array], Array] | None = None,
  ) -> Float[Array, 'b m d']:
    """State 2l to state 2l + 2.

    Args:
      x: state 2l, or 2l + 1 where the block does not attend.
      at: called on states 2l + 1 and 2l + 2; None: on none, and nothing is
        looked up of what was traced before.
      layer: l, for `at` alone.
      rotate: turns queries and keys.
    """
    if at is None or self.is_initializing():
      return self._plain(x, at or unchanged, layer, rotate)
    weights = self.variables['params']
    half = functools.partial(self.clone, parent=None, name=None)
    if self.attends:
      x = at(2 * layer + 1, _traced(half(mixes=False), weights, x, rotate))
    if self.mixes:
      x = at(2 * layer + 2, _traced(half(attends=False), weights, x, None))
    return x

  @nn.nowrap
  def _plain(self, x: Array, at: At, layer: int, rotate) -> Array:
    if self.attends:
      h = layers.LayerNorm(self.eps, name='norm1')(x)
      h = layers.Attention(
          self.heads, self.qkv_bias, name='attention')(h, rotate)
      if self.layer_scale:
        h = layers.LayerScale(name='scale1')(h)
      x = at(2 * layer + 1, (x + h).astype(x.dtype))
    if not self.mixes:
      return x

    h = layers.LayerNorm(self.eps, name='norm2')(x)
    h = layers.Mlp(self.hidden, self.activation, self.gated, name='mlp')(h)
    if self.layer_scale:
      h = layers.LayerScale(name='scale2')(h)
    return at(2 * layer + 2, (x + h).astype(x.dtype))


# In a program it is what it would be without `jit`; but a half, which is told
# from those of other blocks by its weights alone, is traced once for its
# shapes, and not in every block of every program.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _traced(half: Block, weights: dict, x: Array, rotate) -> Array:
  return half.apply({'params': weights}, x, None, 0, rotate)
