"""Adapters whose edges are data: one program for every set of them.

`placed` compiles a network for one set of edges. Whoever trains many sets would
compile most of the time; here the edges are arrays, the blocks a stack that a
loop runs over, and every state lies in one buffer that edges read by number.
The pass starts at the block of the lowest adapted state, whichever that is.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.backbones.backbone import Backbone
from lst.backbones.passes import FETCHES
from lst.backbones.stacked import BLOCKS, sliced, stack
from lst.placement.placed import check_blocks
from lst.placement.plans import Plan


class Movable(NamedTuple):
  """A frozen backbone with so many adapters, on edges that come with a call.

  Attributes:
    init: (key, count) -> parameters, each with a leading axis of the adapters.
    blocks: frozen -> its blocks as one stack.
    apply: (params, blocks, states (2L + 1, B, N, D), plan) -> the last state of
      the adapted pass (B, N, D); `states` are those of the plain pass. A
      gradient goes to `params` alone.
  """

  init: Callable[[Array, int], Any]
  blocks: Callable[[dict], Any]
  apply: Callable[[Any, Any, Array, Plan], Float[Array, 'b n d']]


def movable(backbone: Backbone, adapter: nn.Module) -> Movable:
  """As `placed.place`, which it equals to rounding, for sets of any edges.

  The way back computes the inside of each block anew; of the adapters it runs
  those that there are.
  """
  check_blocks(backbone)

  def init(key, count):
    x = jax.ShapeDtypeStruct((1, 1, backbone.width), jnp.float32)
    one = functools.partial(adapter.lazy_init, x=x)
    return jax.vmap(lambda key: one(key).get('params', {}))(
        jax.random.split(key, count))

  def blocks(frozen):
    whole = frozen if BLOCKS in frozen else stack(frozen, backbone.depth)
    return whole[BLOCKS]

  def layer(half, weights, x):
    # All blocks are alike: each is the first of a network of its own.
    return backbone.apply({'block_0': weights}, x, start=half, stop=half + 1)

  def added(params, x):
    return adapter.apply({'params': params}, x).astype(jnp.float32)

  fetch = FETCHES.get(backbone.blocks) or sliced
  run = _Pass(backbone.depth, jnp.dtype(backbone.dtype), fetch, layer, added)
  return Movable(init, blocks, _differentiable(run))


def _differentiable(run: '_Pass') -> Callable:
  """`Movable.apply` with its own way back."""
  @jax.custom_vjp
  def apply(params, blocks, states, plan):
    return forward(params, blocks, states, plan)[0]

  def forward(params, blocks, states, plan):
    # CPUs update a buffer in bf16 by way of a whole one in f32.
    plain = states.astype(jnp.float32)
    adapted, summed = run.forward(params, blocks, plain, plan)
    last = adapted[-1].astype(states.dtype)
    return last, (params, blocks, _Seen(plain, adapted, summed), plan)

  def backward(found, gradient):
    return run.backward(*found, gradient), None, None, None

  apply.defvjp(forward, backward)
  # Loops read the arrays of a plan by traced numbers.
  return lambda params, blocks, states, plan: apply(
      params, blocks, states, jax.tree.map(jnp.asarray, plan))


class _Seen(NamedTuple):
  """All states: of the plain pass; behind and ahead of sequential adapters."""

  plain: Array
  adapted: Array
  summed: Array


class _Pass(NamedTuple):
  """The adapted pass and its way back, on buffers of all states."""

  depth: int
  dtype: jnp.dtype
  fetch: Callable
  layer: Callable
  added: Callable

  def forward(self, params, blocks, plain, plan):
    """(states behind their sequential adapters, ahead of them)."""
    def settle(k, x, buffers):
      adapted, summed = buffers
      first, forward, recurrent, last = plan.bounds[k]

      def add(e, total):
        source = jnp.where(
            e < forward, sliced(adapted, plan.source[e]),
            sliced(plain, plan.source[e]))
        return total + self.added(sliced(params, e), source.astype(self.dtype))

      total = jnp.zeros(x.shape, jnp.float32)
      total = jax.lax.fori_loop(first, forward, add, total)
      total = jax.lax.fori_loop(recurrent, last, add, total)
      z = (x + total).astype(x.dtype)
      x = jax.lax.cond(
          forward < recurrent,
          lambda: (z + self.added(sliced(params, forward), z)).astype(z.dtype),
          lambda: z)
      return x, (_put(adapted, k, x), _put(summed, k, z))

    def block(b, carry):
      x, buffers = carry
      weights = jax.lax.optimization_barrier(self.fetch(blocks, b))
      for half in range(2):
        x = self.layer(half, weights, x)
        x, buffers = settle(2 * b + half + 1, x, buffers)
      return x, buffers

    lowest = 2 * plan.start
    x = sliced(plain, lowest).astype(self.dtype)
    carry = settle(lowest, x, (plain, plain))
    return jax.lax.fori_loop(plan.start, self.depth, block, carry)[1]

  def backward(self, params, blocks, seen: _Seen, plan, gradient):
    """The gradient of `params`."""
    settle = functools.partial(self._unsettle, params, seen, plan)

    def block(step, carry):
      b = self.depth - 1 - step
      weights = jax.lax.optimization_barrier(self.fetch(blocks, b))
      for half in (1, 0):
        k = 2 * b + half
        g, (states, grads) = settle(k + 1, carry)
        _, back = jax.vjp(
            functools.partial(self.layer, half, weights),
            sliced(seen.adapted, k).astype(self.dtype))
        of_x, = back(g.astype(self.dtype))
        carry = states.at[k].add(of_x.astype(jnp.float32)), grads
      return carry

    states = jnp.zeros(seen.adapted.shape, jnp.float32).at[-1].set(
        gradient.astype(jnp.float32))
    carry = jax.lax.fori_loop(
        0, self.depth - plan.start, block,
        (states, jax.tree.map(jnp.zeros_like, params)))
    return settle(2 * plan.start, carry)[1][1]

  def _unsettle(self, params, seen: _Seen, plan, k, carry):
    """From behind the adapters of a state to ahead of them.

    `carry` has the gradients of all states, and those of `params`.
    """
    states, grads = carry
    first, forward, recurrent, last = plan.bounds[k]
    through = functools.partial(self._through, params)

    def sequential():
      of_x, found = through(forward, seen.summed[k], states[k], grads)
      return states[k] + of_x, found

    g, grads = jax.lax.cond(
        forward < recurrent, sequential, lambda: (states[k], grads))

    def add(e, carry):
      states, grads = carry
      of_x, grads = through(e, sliced(seen.adapted, plan.source[e]), g, grads)
      return states.at[plan.source[e]].add(of_x), grads

    def add_plain(e, grads):
      return through(e, sliced(seen.plain, plan.source[e]), g, grads)[1]

    grads = jax.lax.fori_loop(recurrent, last, add_plain, grads)
    return g, jax.lax.fori_loop(first, forward, add, (states, grads))

  def _through(self, params, e, x, g, grads):
    """The gradient of what adapter e reads, and `grads` with its own."""
    _, back = jax.vjp(self.added, sliced(params, e), x.astype(self.dtype))
    of_params, of_x = back(g)
    return of_x.astype(jnp.float32), jax.tree.map(
        lambda total, new: total.at[e].set(new), grads, of_params)


def _put(buffer, number, x):
  return buffer.at[number].set(x.astype(buffer.dtype))
