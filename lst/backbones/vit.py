"""The vision transformer, with a hook on every state of its residual stream."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lst.backbones import layers, positions

# `at(k, x) -> x` is called on each of the 2L + 1 states; see `ViT`.
At = Callable[[int, Array], Array]


def unchanged(k: int, x: Array) -> Array:
  """The default hook: goes on with the state as it is."""
  del k
  return x


class Block(nn.Module):
  """One pre-norm transformer block: attention, then an MLP."""

  heads: int
  hidden: int
  activation: str
  gated: bool
  qkv_bias: bool
  layer_scale: bool
  eps: float

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b n d'],
      at: At,
      layer: int,
      rotate: Callable[[Array], Array] | None = None,
  ) -> Float[Array, 'b m d']:
    """State 2l to state 2l + 2, `at` called on 2l + 1 and 2l + 2."""
    h = layers.LayerNorm(self.eps, name='norm1')(x)
    h = layers.Attention(self.heads, self.qkv_bias, name='attention')(h, rotate)
    if self.layer_scale:
      h = layers.LayerScale(name='scale1')(h)
    x = at(2 * layer + 1, (x + h).astype(x.dtype))

    h = layers.LayerNorm(self.eps, name='norm2')(x)
    h = layers.Mlp(self.hidden, self.activation, self.gated, name='mlp')(h)
    if self.layer_scale:
      h = layers.LayerScale(name='scale2')(h)
    return at(2 * layer + 2, (x + h).astype(x.dtype))


class ViT(nn.Module):
  """A ViT general enough for the families people adapt (Dosovitskiy 2021).

  One parameter layout serves them all: loaders bring each family to it. What
  a checkpoint does not have is left out (`qkv_bias`, `layer_scale`,
  `pre_norm`) and what stands ahead of the patches, CLS and register tokens, is
  one `prefix` table, their positions added in.

  Attributes:
    patch: side of a square patch in pixels.
    width, depth, heads, hidden: channels D, blocks L, attention heads, and
      channels inside the MLP.
    grid: (rows, columns) of patches that learned positions were made for.
    prefix: number of tokens ahead of the patches (1 = CLS alone).
    position: 'learned' or 'rotary'.
    resize: how learned positions reach another grid (`positions.RESIZES`).
    rope_base: period of the slowest rotary angle.
    activation, gated: of the MLP (`layers.ACTIVATIONS`; SwiGLU is 'silu' and
      gated).
    qkv_bias, layer_scale, pre_norm: parts a checkpoint may lack. `pre_norm`
      is CLIP's layer norm ahead of the first block.
    eps: of every layer norm.
    dtype: of the residual stream and of every product's operands; sums, norms
      and softmax are in f32.
  """

  patch: int
  width: int
  depth: int
  heads: int
  hidden: int
  grid: tuple[int, int]
  prefix: int = 1
  position: str = 'learned'
  resize: str = 'bicubic'
  rope_base: float = 100.0
  activation: str = 'gelu'
  gated: bool = False
  qkv_bias: bool = True
  layer_scale: bool = False
  pre_norm: bool = False
  eps: float = 1e-6
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
      self, images: Float[Array, 'b h w c'], at: At = unchanged
  ) -> Float[Array, 'b n d']:
    """Normalised images to the last state, ahead of the final norm.

    Args:
      images: (B, H, W, 3), sides divisible by `patch`.
      at: called as `at(k, x)` with x (B, N, D) on state k = 0 (embedding),
        2l + 1 (block l after attention), 2l + 2 (after its MLP); the network
        goes on with what it returns.
    """
    x = self.embed(images)
    if self.pre_norm:
      x = layers.LayerNorm(self.eps, name='pre_norm')(x)
    x = at(0, x)
    rotate = self.rotation(*images.shape[1:3])
    for layer in range(self.depth):
      x = self.block(f'block_{layer}')(x, at, layer, rotate)
    if self.is_initializing():
      layers.LayerNorm(self.eps, name='norm')(x)
    return x

  @nn.nowrap
  def block(self, name: str | None = None) -> Block:
    """A block of this model; all of them are alike."""
    return Block(
        self.heads, self.hidden, self.activation, self.gated, self.qkv_bias,
        self.layer_scale, self.eps, name=name)

  @nn.nowrap
  def rotation(self, height: int, width: int) -> Callable | None:
    """What turns queries and keys for an image's grid, or None."""
    if self.position != 'rotary':
      return None
    return positions.rotary(
        self.grid_of(height, width), self.prefix, self.width // self.heads,
        self.rope_base)

  @nn.nowrap
  def grid_of(self, height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of patches of an image, or a ValueError."""
    if height % self.patch or width % self.patch:
      raise ValueError(
          f'an image of {height} x {width} pixels does not divide into patches '
          f'of {self.patch} x {self.patch}: resize it to multiples of '
          f'{self.patch} (config.backbone.image_size)')
    return height // self.patch, width // self.patch

  @nn.compact_name_scope
  def embed(self, images):
    """Patches to tokens, positions added, prefix tokens put ahead."""
    b, height, width, c = images.shape
    rows, columns = grid = self.grid_of(height, width)
    p = self.patch
    x = images.astype(self.dtype).reshape(b, rows, p, columns, p, c)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, rows * columns, p * p * c)
    x = layers.Dense(self.width, name='patches')(x)
    if self.position == 'learned':
      table = self.param(
          'positions', nn.initializers.normal(0.02),
          (self.grid[0] * self.grid[1], self.width))
      x += positions.resize_positions(table, self.grid, grid, self.resize)
    if self.prefix:
      prefix = self.param(
          'prefix', nn.initializers.normal(0.02), (self.prefix, self.width))
      prefix = jnp.broadcast_to(prefix, (b, *prefix.shape))
      x = jnp.concatenate([prefix, x], axis=1)
    return x.astype(self.dtype)
