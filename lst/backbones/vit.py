"""The vision transformer, with a hook on every state of its residual stream."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lst.backbones import layers, patches, positions
from lst.backbones.block import At, Block, unchanged

# `gather(weights, x) -> weights` is called on those of a block, which are in
# parts, ahead of their use on `x`.
Gather = Callable[[dict, Array], dict]


def _gathered(block, gather: Gather | None, x: Array):
  """`block`, its weights made whole as they are used."""
  if gather is None:
    return block
  return nn.map_variables(block, 'params', lambda tree: gather(tree, x))


class ViT(layers.Module):
  """A ViT general enough for the families people adapt (Dosovitskiy 2021).

  With `tubelet` it reads clips, and a token spans as many frames of them
  (Arnab et al., "ViViT", 2021): all tokens of one time, then those of the next.

  One parameter layout serves them all: loaders bring each family to it. What
  a checkpoint does not have is left out (`qkv_bias`, `layer_scale`,
  `pre_norm`) and what stands ahead of the patches, CLS and register tokens, is
  one `prefix` table, their positions added in.

  Attributes:
    patch: side of a square patch in pixels.
    width, depth, heads, hidden: channels D, blocks L, attention heads, and
      channels inside the MLP.
    grid: ([times,] rows, columns) of patches that positions were made for.
    prefix: number of tokens ahead of the patches (1 = CLS alone).
    position: 'learned', 'sincos' (fixed, `positions.sincos`), 'rotary' or
      'rotary_3d' (`positions.ROTARIES`).
    resize: how learned positions reach another grid (`positions.RESIZES`).
    rope_base: period of the slowest rotary angle.
    activation, gated: of the MLP (`layers.ACTIVATIONS`; SwiGLU is 'silu' and
      gated).
    qkv_bias, layer_scale, pre_norm: parts a checkpoint may lack. `pre_norm`
      is CLIP's layer norm ahead of the first block.
    eps: of every layer norm.
    tubelet: frames that a token spans; 0 for images.
    dtype: of the residual stream and of every product's operands; sums, norms
      and softmax are in f32.
  """

  patch: int
  width: int
  depth: int
  heads: int
  hidden: int
  grid: tuple[int, ...]
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
  tubelet: int = 0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
      self,
      images: Float[Array, 'b *t h w c'] | Float[Array, 'b n d'],
      at: At = unchanged,
      start: int | None = None,
      stop: int | None = None,
      grid: tuple[int, int] | None = None,
      gather: Gather | None = None,
  ) -> Float[Array, 'b n d']:
    """Normalised images to the last state, ahead of the final norm.

    Args:
      images: (B, H, W, 3), sides divisible by `patch`, or clips (B, T, H, W,
        3), T by `tubelet`; with `start`, that state (B, N, D) ahead of `at`.
      at: called as `at(k, x)` with x (B, N, D) on state k = 0 (embedding),
        2l + 1 (block l after attention), 2l + 2 (after its MLP); the network
        goes on with what it returns.
      start: the state to go on from, in place of images.
      stop: the state to end with, in place of the last.
      grid: (rows, columns) of patches of an image or a frame, of a `start`.
      gather: makes the weights of a block whole, where each device holds a
        part of them.
    """
    x, first = images, start or 0
    if start is None:
      x, grid = self.embed(images), self.grid_in(images.shape)
      if self.pre_norm:
        x = layers.LayerNorm(self.eps, name='pre_norm')(x)
    else:
      grid = self.grid_with(grid, x.shape[1])
    last = 2 * self.depth if stop is None else stop
    x, rotate = at(first, x), self.rotation(grid)
    for layer in range(first // 2, (last + 1) // 2):
      block = self.block(
          f'block_{layer}', _gathered(Block, gather, x),
          attends=first <= 2 * layer, mixes=last >= 2 * layer + 2)
      x = block(x, at, layer, rotate)
    if self.is_initializing():
      layers.LayerNorm(self.eps, name='norm')(x)
    return x

  @nn.nowrap
  def block(
      self, name: str | None = None, kind: Callable[..., Block] = Block,
      **halves: bool,
  ) -> Block:
    """A block of this model; all of them are alike.

    Args:
      name: of its weights.
      kind: `Block`, or what wraps it.
      **halves: `attends` and `mixes` of `Block`.
    """
    return kind(
        self.heads, self.hidden, self.activation, self.gated, self.qkv_bias,
        self.layer_scale, self.eps, name=name, **halves)

  @nn.nowrap
  def rotation(self, grid: tuple[int, ...] | None) -> Callable | None:
    """What turns queries and keys on a grid of patches, or None."""
    if self.position not in positions.ROTARIES:
      return None
    return positions.ROTARIES[self.position](
        grid, self.prefix, self.width // self.heads, self.rope_base)

  @property
  def tile(self) -> tuple[int, ...]:
    """([frames,] height, width) of a patch."""
    return (self.tubelet,) * bool(self.tubelet) + (self.patch, self.patch)

  @nn.nowrap
  def grid_in(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """As `grid_of`, of inputs (B, [T,] H, W, 3)."""
    return self.grid_of(*shape[-3:-1], *shape[1:-3])

  @nn.nowrap
  def grid_with(
      self, grid: tuple[int, int] | None, tokens: int
  ) -> tuple[int, ...] | None:
    """(rows, columns) as `grid_of`, of a state (B, tokens, D)."""
    if not self.tubelet:
      return grid
    return ((tokens - self.prefix) // math.prod(grid), *grid)

  @nn.nowrap
  def grid_of(
      self, height: int, width: int, frames: int = 0
  ) -> tuple[int, ...]:
    """([times,] rows, columns) of patches, or a ValueError.

    Args:
      height, width: in pixels.
      frames: of a clip; 0 for an image.
    """
    return patches.grid(self.patch, self.tubelet, height, width, frames)

  @nn.compact_name_scope
  def embed(
      self, images: Float[Array, 'b *t h w c']
  ) -> Float[Array, 'b n d']:
    """Patches to tokens, positions added, prefix tokens put ahead."""
    b, grid = len(images), self.grid_in(images.shape)
    x = patches.cut(images.astype(self.dtype), self.tile)
    x = layers.Dense(self.width, name='patches')(x)
    if self.position == 'learned':
      table = self.param(
          'positions', nn.initializers.normal(0.02),
          (math.prod(self.grid), self.width))
      x += positions.resize_positions(table, self.grid, grid, self.resize)
    elif self.position == 'sincos':
      x += positions.sincos(*x.shape[1:])
    if self.prefix:
      prefix = self.param(
          'prefix', nn.initializers.normal(0.02), (self.prefix, self.width))
      prefix = jnp.broadcast_to(prefix, (b, *prefix.shape))
      x = jnp.concatenate([prefix, x], axis=1)
    return x.astype(self.dtype)
