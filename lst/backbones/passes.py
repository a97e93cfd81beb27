"""The passes of a ViT on its images: a loop, or a scan over a stack."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from lst.backbones import placing, stacked, visits
from lst.backbones.vit import At, Gather, ViT, unchanged


def functions(
    vit: ViT, mean, std, grid: tuple[int, int], blocks: str = 'loop'
) -> tuple[Callable, Callable | None]:
  """`Backbone.apply` and `Backbone.states` of a model.

  Args:
    vit: the model.
    mean, std: of its inputs in [0, 1].
    grid: (rows, columns) of patches of its images or frames.
    blocks: how they are kept (`placing.BLOCKS_KEPT`).
  """
  def normalised(images):
    return (images.astype(jnp.float32) / 255 - jnp.array(mean)) / jnp.array(std)

  def apply(
      frozen: dict, images: Num[Array, 'b *t h w c'] | Float[Array, 'b n d'],
      at: At = unchanged, start: int | None = None, stop: int | None = None,
      gather: Gather | None = None,
  ) -> Float[Array, 'b n d']:
    x = normalised(images) if start is None else images
    return vit.apply(
        {'params': whole_ends(frozen, x, gather)}, x, at, start, stop, grid,
        gather)

  if blocks == 'loop':
    return apply, None
  fetch = placing.STACKINGS[blocks].fetch

  def apply_stacked(frozen, images, at=unchanged, start=None, stop=None):
    parts = stacked.unstacked(frozen, vit.depth, fetch or stacked.sliced)
    return apply(parts, images, at, start, stop)

  def states(frozen: dict, images: Num[Array, 'b *t h w c'], *seen: Any):
    if seen:
      return visits.over(vit, frozen, normalised(images), fetch, *seen)
    return stacked.states(vit, frozen, normalised(images), fetch)

  return apply_stacked, states


def whole_ends(
    frozen: dict, x: Num[Array, '...'], gather: Gather | None
) -> dict:
  """The weights, those of no block made whole by `gather` if it is there.

  Args:
    frozen: by name, such as `block_0` and `norm`.
    x: what goes in, (B, [T,] H, W, 3) or (B, N, D).
    gather: of `vit.ViT`.
  """
  if gather is None:
    return frozen
  return {
      name: tree if name.startswith('block_') else gather(tree, x)
      for name, tree in frozen.items()}
