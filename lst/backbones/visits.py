"""A pass that hands over the state after each block, and keeps none of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lst import turns
from lst.backbones import stacked
from lst.backbones.frozen import Backbone, by_input, entering
from lst.backbones.vit import ViT

# (what is carried, state after a block, what the block is given) -> (what is
# carried, what is kept of it).
See = Callable[[Any, Array, Any], tuple[Any, Any]]


def visitor(backbone: Backbone) -> Callable:
  """`visit(frozen, inputs, see, carry, given) -> (carry, found, last tap)`.

  `see` is called with the tap of every block as the pass comes to it, (B, N,
  D) as `backbone.extractor` has it, and what it does not keep is gone: the
  memory of the taps is that of what is made of them. `given` holds something
  for each block, or None; `found` is what `see` gives, as `turns.scanned` has
  it. Where the blocks are a stack they run in scans, those whose given things
  differ in shape by turns in a scan over turns.
  """
  def visit(frozen, inputs, see: See, carry, given: Sequence[Any]):
    def seen(carry, x, given):
      return see(carry, by_input(backbone, x, inputs), given)

    run = backbone.states or _of_loop(backbone)
    carry, found, last = run(
        frozen, entering(backbone, inputs), seen, carry, given)
    return carry, found, by_input(backbone, last, inputs)

  return visit


def _of_loop(backbone: Backbone) -> Callable:
  def visit(frozen, entered, see, carry, given):
    carried, found = [carry], []

    def at(k, x):
      if k and k % 2 == 0:
        after, out = see(carried[-1], x, given[k // 2 - 1])
        carried.append(after)
        found.append(turns.alone(k // 2 - 1, out))
      return x

    last = backbone.apply(frozen, entered, at)
    return carried[-1], found, last

  return visit


def over(
    vit: ViT, frozen: dict, images: Float[Array, 'b *t h w c'],
    fetch: stacked.Fetch | None, see: See, carry: Any, given: Sequence[Any],
) -> tuple[Any, list[turns.Found], Float[Array, 'b n d']]:
  """The visit of blocks that are a stack.

  Args:
    vit: the model.
    frozen: its weights, blocks stacked.
    images: normalised.
    fetch: as `stacked.states` has it; two blocks are there at a time.
    see, carry, given: of `visitor`.

  Returns:
    (what is carried after the last block, `turns.scanned`'s, last state).
  """
  x, blocks = stacked.start(vit, frozen, images), frozen[stacked.BLOCKS]

  def run(weights, x):
    return stacked.step(vit, weights, x, images.shape)

  def resident(state, block, given):
    x, carry = state
    x = run(stacked.sliced(blocks, block), x)
    carry, out = see(carry, x, given)
    return (x, carry), out

  def fetched(state, block, given):
    x, carry, weights = state
    following = fetch(blocks, jnp.minimum(block + 1, vit.depth - 1))
    x = run(weights, x)
    carry, out = see(carry, x, given)
    return (x, carry, following), out

  state, step = (x, carry), resident
  if fetch is not None:
    state, step = (*state, fetch(blocks, jnp.int32(0))), fetched
  state, found = turns.scanned(step, state, given)
  return state[1], found, state[0]
