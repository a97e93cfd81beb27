"""The blocks of a ViT as one stack of weights, which a scan runs over.

The compiler sees one block, whatever the depth. States are only recorded: to
change them on the way, `ViT` itself runs block by block, on the same weights.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lst.backbones.block import unchanged
from lst.backbones.vit import ViT

# The key of the stack in the tree of weights.
BLOCKS = 'blocks'

# From the stack, or what stands for it, and the number of a block to the
# weights of that block, where they can be computed with.
Fetch = Callable[[Any, Int[Array, ''] | int], Any]


def stack(params: dict, depth: int) -> dict:
  """{'block_0': ..., 'norm': ...} to {'blocks': ..., 'norm': ...}.

  Each weight of the blocks gets a leading axis of `depth`.
  """
  blocks = [params[f'block_{k}'] for k in range(depth)]
  rest = {k: v for k, v in params.items() if not k.startswith('block_')}
  return {**rest, BLOCKS: jax.tree.map(lambda *xs: jnp.stack(xs), *blocks)}


def sliced(blocks: Any, block: Int[Array, ''] | int) -> Any:
  """The weights of one block of a stack."""
  return jax.tree.map(
      lambda x: jax.lax.dynamic_index_in_dim(x, block, keepdims=False), blocks)


def unstacked(frozen: dict, depth: int, fetch: Fetch = sliced) -> dict:
  """What `stack` was given."""
  rest = {k: v for k, v in frozen.items() if k != BLOCKS}
  return rest | {
      f'block_{k}': fetch(frozen[BLOCKS], k) for k in range(depth)}


def states(
    vit: ViT, frozen: dict, images: Float[Array, 'b *t h w c'],
    fetch: Fetch | None = None,
) -> Float[Array, 'l b n d']:
  """The state after every block, as `ViT` gives them to `at(2 * l + 2, x)`.

  Args:
    vit: the model.
    frozen: its weights, blocks stacked.
    images: normalised.
    fetch: brings the weights of a block to the device. Those of the next one
      are asked for ahead of the products of this one, which do not wait for
      them; so two blocks are there at a time.
  """
  x, shape = start(vit, frozen, images), images.shape

  def run(weights, x):
    return step(vit, weights, x, shape)

  if fetch is None:
    def recorded(x, weights):
      x = run(weights, x)
      return x, x

    return jax.lax.scan(recorded, x, frozen[BLOCKS])[1]

  def fetching(carry, block):
    x, weights = carry
    following = fetch(frozen[BLOCKS], jnp.minimum(block + 1, vit.depth - 1))
    x = run(weights, x)
    return (x, following), x

  first = fetch(frozen[BLOCKS], jnp.int32(0))
  return jax.lax.scan(
      fetching, (x, first), jnp.arange(vit.depth, dtype=jnp.int32))[1]


def start(
    vit: ViT, frozen: dict, images: Float[Array, 'b *t h w c']
) -> Float[Array, 'b n d']:
  """State 0 of images."""
  rest = {k: v for k, v in frozen.items() if k != BLOCKS}
  # Without its blocks, a model is what comes ahead of them.
  return vit.clone(depth=0).apply({'params': rest}, images)


def step(
    vit: ViT, weights: Any, x: Float[Array, 'b n d'], shape: tuple[int, ...]
) -> Float[Array, 'b n d']:
  """The state after a block with these weights.

  Args:
    vit: the model.
    weights: of the block.
    x: the state ahead of it.
    shape: of the images, (B, [T,] H, W, 3).
  """
  rotate = vit.rotation(vit.grid_in(shape))
  return vit.block().apply({'params': weights}, x, unchanged, 0, rotate)
