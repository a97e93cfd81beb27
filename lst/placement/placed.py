"""A frozen backbone with adapters on edges: a plain pass, then an adapted one.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.backbones.backbone import Backbone, extractor
from lst.backbones.block import At, unchanged
from lst.backbones.layers import ACTIVATIONS, LayerNorm
from lst.features import Features
from lst.placement.edges import Edge, Passes, passes
from lst.product import by_row, kept, times


class Adapter(nn.Module):
  """A(x) = alpha act(LN(x) Wd) Wu, with Wu = 0 at first (Nowak et al., 2024).

  The paper gives the form; GELU, rank 8 and a first gain of 1 are our choice.

  Attributes:
    rank: r.
    alpha: initial value of the learned gain.
    eps: of the layer norm, whose scale and bias are trained.
  """

  rank: int = 8
  alpha: float = 1.0
  eps: float = 1e-6

  @nn.compact
  def __call__(self, x: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
    """(B, N, D) to what is added, (B, N, D) in f32."""
    init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    # Both (r, D), as `lst.side.LowRank` has them.
    down = self.param('down', init, (self.rank, x.shape[-1]))
    up = self.param('up', nn.initializers.zeros, (self.rank, x.shape[-1]))
    alpha = self.param('alpha', nn.initializers.constant(self.alpha), ())
    h = by_row(LayerNorm(self.eps, name='norm')(x), down)
    h = alpha * ACTIVATIONS['gelu'](h)
    return times(h.astype(x.dtype), up)


class Unlearned(nn.Module):
  """A control of ours: adds the normed state itself, and trains nothing.

  What a second pass gives that brings no parameter.

  Attributes:
    alpha: gain.
    eps: of the layer norm, which has neither scale nor bias.
  """

  alpha: float = 1.0
  eps: float = 1e-6

  def __call__(self, x: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
    """(B, N, D) to what is added, (B, N, D) in f32."""
    x = x.astype(jnp.float32)
    x = x - jnp.mean(x, -1, keepdims=True)
    return self.alpha * x * jax.lax.rsqrt(
        jnp.mean(x * x, -1, keepdims=True) + self.eps)


class Placed(NamedTuple):
  """A backbone with adapters on edges, in two parts.

  The first part has no parameter: it needs no gradient and its states may come
  from a cache. Both together are the network.

  Attributes:
    edges: where the adapters are.
    init: (key) -> parameters, by the name of the edge.
    extract: (frozen, images) -> `Features` of the states that the plain pass
      hands over (`edges.Passes.kept`).
    resume: (params, frozen, features, before, after) -> the last state of the
      adapted pass (B, N, D); `before(k, z)` and `after(k, x)` are called on
      each state ahead of its sequential adapter and behind it, and return what
      goes on.
  """

  edges: tuple[Edge, ...]
  init: Callable[[Array], dict]
  extract: Callable[[Any, Any], Features]
  resume: Callable[..., Float[Array, 'b n d']]


def check_blocks(backbone: Backbone) -> None:
  """Raises ValueError if no second pass can start where it has to."""
  if backbone.steps:
    raise ValueError(
        "config.method='placed' and `movable` go through blocks a second time, "
        "and config.backbone.blocks='disk' gives each once: set it to 'loop' "
        "('scan' and 'host' do where all that edges need of the plain pass are "
        'states after blocks)')


def place(
    backbone: Backbone,
    edges: tuple[Edge, ...],
    adapter: nn.Module,
    whole: bool = False,
) -> Placed:
  """Puts `adapter` on every edge, as `edges.checked` gives them.

  The plain pass hands over what the edges need of it and the adapted one starts
  at their lowest target; `whole` hands over all states and starts with the
  first, for scores.

  On a state that several share, the order is: the layer itself; long-range and
  parallel adapters are added; recurrent ones, which read the plain pass, are
  added; then the sequential one reads the sum and is added to it.
  """
  check_blocks(backbone)
  plan = passes(edges, backbone.depth)
  if whole:
    last = 2 * backbone.depth
    plan = Passes(0, tuple(range(last + 1)), last)

  def init(key):
    x = jax.ShapeDtypeStruct((1, 1, backbone.width), jnp.float32)
    keys = jax.random.split(key, max(len(edges), 1))
    return {
        edge.name: adapter.lazy_init(key, x).get('params', {})
        for edge, key in zip(edges, keys, strict=False)}

  def resume(
      params, frozen, features, before: At = unchanged, after: At = unchanged):
    plain = dict(zip(plan.kept, features.taps, strict=True))
    hook = _hook(edges, plan.start, plain, adapter, params, before, after)
    return backbone.apply(frozen, plain[plan.start], hook, start=plan.start)

  return Placed(edges, init, extractor(backbone, plan.kept), resume)


def _hook(
    edges, start: int, plain: Mapping[int, Array], adapter: nn.Module, params,
    before: At, after: At,
) -> At:
  """The hook of the second pass, which keeps the states that edges read."""
  read = {edge.source for edge in edges if edge.source < edge.target}
  states = {k: x for k, x in plain.items() if k < start}

  def added(edge, x):
    return adapter.apply({'params': params[edge.name]}, x)

  def at(k, x):
    here = [edge for edge in edges if edge.target == k]
    total = [added(e, states[e.source]) for e in here if e.source < k]
    total += [added(e, plain[e.source]) for e in here if e.source > k]
    # Kept apart from the backbone, whose own sums XLA would otherwise take in
    # another order: adapters that add zero then leave every bit.
    z = kept((kept(x) + sum(total)).astype(x.dtype)) if total else x
    z = before(k, z)
    if Edge(k, k) in here:
      z = kept(z)
      z = kept((z + added(Edge(k, k), z)).astype(x.dtype))
    z = after(k, z)
    if k in read:
      states[k] = z = kept(z)
    return z

  return at
