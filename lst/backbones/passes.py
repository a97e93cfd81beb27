"""The passes of a ViT on images: a loop, a scan over a stack, or in steps."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from lst.backbones import placing, stacked, streamed, visits
from lst.backbones.block import At, unchanged
from lst.backbones.vit import Gather, ViT

# From what is kept of blocks to the weights of one; None where it is a stack on
# the device.
FETCHES: dict[str, stacked.Fetch | None] = {
    'disk': streamed.fetch,
    **{name: way.fetch for name, way in placing.STACKINGS.items()}}


class Steps(NamedTuple):
  """A pass in parts that the host runs, one after another.

  Attributes:
    enter: (the weights of no block, images) -> state 0.
    step: (weights of a block, state, shape of the images) -> the next state.
  """

  enter: Callable[..., Float[Array, 'b n d']]
  step: Callable[..., Float[Array, 'b n d']]


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
  normalised = functools.partial(_normalised, mean, std)

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
  fetch = FETCHES[blocks]

  def apply_stacked(frozen, images, at=unchanged, start=None, stop=None):
    # Weights that someone took out of the stack have their own names already.
    if stacked.BLOCKS in frozen:
      frozen = stacked.unstacked(frozen, vit.depth, fetch or stacked.sliced)
    return apply(frozen, images, at, start, stop)

  def states(frozen: dict, images: Num[Array, 'b *t h w c'], *seen: Any):
    if seen:
      return visits.over(vit, frozen, normalised(images), fetch, *seen)
    return stacked.states(vit, frozen, normalised(images), fetch)

  return apply_stacked, states


def steps(vit: ViT, mean, std) -> Steps:
  """`Backbone.steps` of a model; `mean` and `std` as of `functions`."""
  def enter(frozen, images):
    return stacked.start(vit, frozen, _normalised(mean, std, images))

  return Steps(enter, functools.partial(stacked.step, vit))


def _normalised(mean, std, images: Num[Array, '...']) -> Float[Array, '...']:
  return (images.astype(jnp.float32) / 255 - jnp.array(mean)) / jnp.array(std)


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
