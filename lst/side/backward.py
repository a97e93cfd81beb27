"""The backward pass of `lst.side.mixing`: see there for the algebra."""

import jax
import jax.numpy as jnp

from lst.product import kept, turned
from lst.side.mixers import (
  ACTIVATIONS,
  Mixer,
  cut,
  dot,
  each,
  side_by_side,
  total,
)


class Backward:
  """Cotangents, from the last mixer to the first."""

  def __init__(self, plan, mixers, crosses, saved):
    self._plan, self._mixers, self._crosses = plan, mixers, crosses
    self._saved = saved
    self._dtype, self._rank = plan.dtype, mixers[0].down.shape[0]
    depth = len(mixers)
    # Of h of each mixer; dT and dP by (earlier, later) mixer.
    self._h, self._inner = [None] * depth, {}
    self._down = [jnp.zeros(m.down.shape, jnp.float32) for m in mixers]
    self._up = [jnp.zeros(m.up.shape, jnp.float32) for m in mixers]
    self._offset, self._cross = [None] * depth, [None] * depth

  def mixer(self, i, given):
    """All that mixer i owes, once the later ones are done."""
    with jax.named_scope('mixing'):
      g = total(given.astype(jnp.float32), *self._from_later(i))
    with jax.named_scope('activation'):
      act = ACTIVATIONS[self._plan.activation]
      x = self._saved[i].before.astype(jnp.float32)
      h = jax.vjp(act, x)[1](g)[0]
      offset = self._mixers[i].offset
      if offset is not None:
        self._offset[i] = _to_shape(h, offset.shape)
      h = self._h[i] = kept(h.astype(self._dtype))
    with jax.named_scope('mixing'):
      self._to_earlier(i, h)

  def result(self):
    """Cotangents of (mixers, crosses, read)."""
    mixers = tuple(
        Mixer(*x) for x in zip(
            self._down, self._up, self._offset, strict=True))
    return mixers, tuple(self._cross), tuple(
        h.astype(jnp.float32) for h in self._h)

  def _weights(self, which, name):
    arrays = [getattr(self._mixers[k], name) for k in which]
    return side_by_side(arrays, 0).astype(self._dtype)

  def _from_later(self, i):
    """Cotangents of mixer i's activations by way of each later mixer."""
    plan, rank, act = self._plan, self._rank, self._saved[i].act
    kind = plan.kinds[i]
    terms = []
    same = plan.near(i, kind, 1)
    crosses = [
        cut(self._crosses[k].astype(self._dtype),
            len(plan.near(i, kind, -1)), rank, 1) for k in same]
    if same and kind == 'channel':
      # Side by side: a product as deep as all later mixers.
      h = side_by_side([self._h[k] for k in same], 2)
      terms.append(dot('bnk,kr->bnr', h, side_by_side(crosses, 0)))
    elif same:
      for k, cross in zip(same, crosses, strict=True):
        h = self._h[k]
        terms.append(dot('brk,bkd->brd', each(turned(cross), h), h))
    other = plan.near(i, 'token' if kind == 'channel' else 'channel', 1)
    if not other:
      return terms
    down = self._weights(other, 'down')
    if kind == 'channel':
      inner = side_by_side([self._inner[i, k] for k in other], 1)
      terms.append(dot('bnk,bkr->bnr', each(turned(down), inner), inner))
      grad = dot('bkr,bnr->kn', inner, act)
    else:
      inner = side_by_side([self._inner[i, k] for k in other], 2)
      terms.append(dot('brk,kd->brd', inner, down))
      grad = dot('brk,brd->kd', inner, act)
    for n, k in enumerate(other):
      self._down[k] += cut(grad, n, rank, 0)
    return terms

  def _to_earlier(self, i, h):
    """What mixer i owes to the history that it read."""
    plan, rank = self._plan, self._rank
    kind = plan.kinds[i]
    same = plan.near(i, kind, -1)
    acts = [self._saved[j].act for j in same]
    if same and kind == 'channel':
      self._cross[i] = dot('bnr,bnk->rk', h, side_by_side(acts, 2))
    elif same:
      self._cross[i] = jnp.concatenate(
          [dot('brd,bkd->brk', h, s).sum(0) for s in acts], 1)
    other = plan.near(i, 'token' if kind == 'channel' else 'channel', -1)
    if not other:
      return
    inner, up = self._saved[i].inner, self._weights(other, 'up')
    if kind == 'channel':
      # Turned apart from the product: XLA would turn its operands instead, to
      # a form that it cannot run in bf16.
      grad = kept(dot('bnr,bkr->nk', h, inner)).T
      out = dot('bkn,bnr->bkr', each(up, h), h)
    else:
      grad = dot('brk,brd->kd', inner, h)
      out = dot('brd,kd->brk', h, up)
    out, axis = kept(out.astype(self._dtype)), 1 if kind == 'channel' else 2
    for n, j in enumerate(other):
      self._up[j] += cut(grad, n, rank, 0)
      self._inner[j, i] = cut(out, n, rank, axis)


def _to_shape(x, shape):
  """Sums over what was broadcast from `shape`."""
  x = x.sum(tuple(range(x.ndim - len(shape))))
  return x.sum(
      [a for a, n in enumerate(shape) if n != x.shape[a]], keepdims=True)
