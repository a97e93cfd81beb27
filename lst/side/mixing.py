"""The mixers of LoSA in their low-rank form, with a backward pass by hand.

With W_j (r, D) and U_j (N, r) the second weights of a channel and of a token
mixer (each times its alpha), a_j (N, r) and s_j (r, D) their activations, V_i
the first weights (r, D) or (r, N), and z_i the frozen part of what mixer i
reads, the low-rank form is

    channel: p_i = z_i V_i^T + sum_j a_j (V_i W_j^T)^T + sum_j U_j (s_j V_i^T)
    token:   q_i = V_i z_i   + sum_j (V_i U_j) s_j     + sum_j (V_i a_j) W_j

over the mixers j < i of both kinds. C_ij = V_i W_j^T and M_ij = V_i U_j are
products of weights alone. T_ji = s_j V_i^T (r, r) and P_ij = V_i a_j (r, r) are
made once for each j, for all later mixers i in one product. What is multiplied
in turn with U, C and W is the whole history, side by side. The backward pass
mirrors this: dT and dP are made for all earlier mixers at once, and meet the
later V side by side. So no array grows from mixer to mixer, each tap is read
once forward and once backward, and every product over examples is a flat one.

Operands are in the dtype of the taps; sums are in f32.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.product import kept

# By name; each of one argument. Erf: a third of what `jax.nn.gelu` takes on
# CPUs, by erfc.
ACTIVATIONS = {
    'gelu': lambda x: 0.5 * x * (1.0 + jax.lax.erf(x * 0.5**0.5)),
    'gelu_tanh': jax.nn.gelu,
    'relu': jax.nn.relu,
    'silu': jax.nn.silu,
    'identity': lambda x: x,
}


class Plan(NamedTuple):
  """What is fixed: which mixers there are.

  Attributes:
    kinds: 'channel' or 'token' of each mixer.
    activation: a key of `ACTIVATIONS`.
  """

  kinds: tuple[str, ...]
  activation: str

  def near(self, i: int, kind: str, step: int) -> list[int]:
    """The mixers of a kind before (step -1) or after (1) mixer `i`."""
    return [j for j, k in enumerate(self.kinds)
            if k == kind and (j - i) * step > 0]


class Mixer(NamedTuple):
  """The weights of one mixer; M is D of a channel mixer, N of a token mixer.

  Attributes:
    down: V.
    up: W, or U transposed; alpha is in it.
    offset: added ahead of the activation: (N, r) or (r,) of a channel mixer,
      (r, D) or (r, 1) of a token mixer, or None.
  """

  down: Float[Array, 'r m']
  up: Float[Array, 'r m']
  offset: Array | None = None


def mix(
    plan: Plan, mixers: tuple[Mixer, ...],
    taps: tuple[Float[Array, 'b n d'], ...]
) -> tuple[Array, ...]:
  """Activations of every mixer: (B, N, r) or (B, r, D), as the taps' dtype."""
  with jax.named_scope('weights'):
    crosses = tuple(_cross(plan, mixers, i) for i in range(len(mixers)))
  return _mix(plan, mixers, crosses, taps)


def _cross(plan, mixers, i):
  """C_i or M_i (r, K): mixer i's V and the earlier weights of its kind."""
  earlier = [mixers[j].up for j in plan.near(i, plan.kinds[i], -1)]
  if not earlier:
    return None
  return mixers[i].down @ jnp.concatenate(earlier).T


def _dot(spec, x, y):
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


def _each(w, like):
  """A weight once for every example: a flat product would turn `like`."""
  return jnp.broadcast_to(w, (like.shape[0], *w.shape))


def _sum(*terms):
  return sum(x for x in terms if x is not None)


def _side(arrays, axis):
  return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis)


def _at(x, k: int, rank: int, axis: int):
  return jax.lax.slice_in_dim(x, k * rank, (k + 1) * rank, axis=axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mix(plan, mixers, crosses, taps):
  return _forward(plan, mixers, crosses, taps)[0]


class _Saved(NamedTuple):
  """Of mixer i: before its activation, after, history, inner products."""

  before: Array
  act: Array
  inner: Array | None


def _forward(plan, mixers, crosses, taps):
  dtype, rank = taps[0].dtype, mixers[0].down.shape[0]
  act = ACTIVATIONS[plan.activation]
  saved, ahead = [], {}

  def cast(x):
    return x.astype(dtype)

  for i, kind in enumerate(plan.kinds):
    down = cast(mixers[i].down)
    with jax.named_scope('taps'):
      if kind == 'channel':
        h = _dot('bnd,rd->bnr', taps[i], down)
      else:
        h = _dot('brn,bnd->brd', _each(down, taps[i]), taps[i])
    with jax.named_scope('mixing'):
      more, inner = _history(plan, mixers, crosses, i, saved, ahead)
      h = _sum(h, *more)
    with jax.named_scope('activation'):
      if mixers[i].offset is not None:
        h = h + mixers[i].offset
      before = kept(cast(h))
      after = kept(cast(act(before.astype(jnp.float32))))
    saved.append(_Saved(before, after, inner))
    with jax.named_scope('mixing'):
      later = plan.near(i, 'token' if kind == 'channel' else 'channel', 1)
      if later:
        v = cast(_side([mixers[k].down for k in later], 0))
        if kind == 'channel':
          out = _dot('bkn,bnr->bkr', _each(v, after), after)
        else:
          out = _dot('brd,kd->brk', after, v)
        out, axis = kept(cast(out)), 1 if kind == 'channel' else 2
        for n, k in enumerate(later):
          ahead[i, k] = _at(out, n, rank, axis)
  return tuple(x.act for x in saved), saved


def _history(plan, mixers, crosses, i, saved, ahead):
  """What earlier mixers add to h of mixer i, and T or P (B, ...) of it."""
  dtype, kind = saved[0].act.dtype if saved else None, plan.kinds[i]
  rank = mixers[i].down.shape[0]
  same = plan.near(i, kind, -1)
  others = plan.near(i, 'token' if kind == 'channel' else 'channel', -1)
  terms, inner = [], None
  if same:
    cross = crosses[i].astype(dtype)
    if kind == 'channel':
      a = _side([saved[j].act for j in same], 2)
      terms.append(_dot('bnk,rk->bnr', a, cross))
    else:
      # Pair by pair: side by side, s would be copied at every mixer.
      for n, j in enumerate(same):
        m = _each(_at(cross, n, rank, 1), saved[j].act)
        terms.append(_dot('brk,bkd->brd', m, saved[j].act))
  if others:
    up = _side([mixers[j].up for j in others], 0).astype(dtype)
    if kind == 'channel':
      inner = _side([ahead[j, i] for j in others], 1)
      terms.append(_dot('bnk,bkr->bnr', _each(up.T, inner), inner))
    else:
      inner = _side([ahead[j, i] for j in others], 2)
      terms.append(_dot('brk,kd->brd', inner, up))
  return terms, inner


class _Backward:
  """Cotangents, from the last mixer to the first."""

  def __init__(self, plan, mixers, crosses, taps, saved):
    self._plan, self._mixers, self._crosses = plan, mixers, crosses
    self._taps, self._saved = taps, saved
    self._dtype, self._rank = taps[0].dtype, mixers[0].down.shape[0]
    depth = len(mixers)
    # Of h of each mixer; dT and dP by (earlier, later) mixer.
    self._h, self._inner = [None] * depth, {}
    self._down = [0.0] * depth
    self._up = [jnp.zeros(m.up.shape, jnp.float32) for m in mixers]
    self._offset, self._cross = [None] * depth, [None] * depth
    self._tap = [None] * depth

  def mixer(self, i, given):
    """All that mixer i owes, once the later ones are done."""
    with jax.named_scope('mixing'):
      g = _sum(given.astype(jnp.float32), *self._from_later(i))
    with jax.named_scope('activation'):
      act = ACTIVATIONS[self._plan.activation]
      x = self._saved[i].before.astype(jnp.float32)
      h = jax.vjp(act, x)[1](g)[0]
      offset = self._mixers[i].offset
      if offset is not None:
        self._offset[i] = _to_shape(h, offset.shape)
      h = self._h[i] = kept(h.astype(self._dtype))
    with jax.named_scope('taps'):
      self._to_tap(i, h)
    with jax.named_scope('mixing'):
      self._to_earlier(i, h)

  def result(self):
    """Cotangents of (mixers, crosses, taps)."""
    mixers = tuple(
        Mixer(*x) for x in zip(
            self._down, self._up, self._offset, strict=True))
    return mixers, tuple(self._cross), tuple(self._tap)

  def _weights(self, which, name):
    arrays = [getattr(self._mixers[k], name) for k in which]
    return _side(arrays, 0).astype(self._dtype)

  def _from_later(self, i):
    """Cotangents of mixer i's activations by way of each later mixer."""
    plan, rank, act = self._plan, self._rank, self._saved[i].act
    kind = plan.kinds[i]
    terms = []
    same = plan.near(i, kind, 1)
    crosses = [
        _at(self._crosses[k].astype(self._dtype),
            len(plan.near(i, kind, -1)), rank, 1) for k in same]
    if same and kind == 'channel':
      # Side by side: a product as deep as all later mixers.
      h = _side([self._h[k] for k in same], 2)
      terms.append(_dot('bnk,kr->bnr', h, _side(crosses, 0)))
    elif same:
      for k, cross in zip(same, crosses, strict=True):
        h = self._h[k]
        terms.append(_dot('brk,bkd->brd', _each(cross.T, h), h))
    other = plan.near(i, 'token' if kind == 'channel' else 'channel', 1)
    if not other:
      return terms
    down = self._weights(other, 'down')
    if kind == 'channel':
      inner = _side([self._inner[i, k] for k in other], 1)
      terms.append(_dot('bnk,bkr->bnr', _each(down.T, inner), inner))
      grad = _dot('bkr,bnr->kn', inner, act)
    else:
      inner = _side([self._inner[i, k] for k in other], 2)
      terms.append(_dot('brk,kd->brd', inner, down))
      grad = _dot('brk,brd->kd', inner, act)
    for n, k in enumerate(other):
      self._down[k] += _at(grad, n, rank, 0)
    return terms

  def _to_tap(self, i, h):
    z, down = self._taps[i], self._mixers[i].down.astype(self._dtype)
    if self._plan.kinds[i] == 'channel':
      self._down[i] += _dot('bnr,bnd->rd', h, z)
      dz = _dot('bnr,rd->bnd', h, down)
    else:
      # Example by example, then summed: a fifth of the time of one product
      # that contracts the examples and the channels together.
      self._down[i] += _dot('bnd,brd->bnr', z, h).sum(0).T
      dz = _dot('bnr,brd->bnd', _each(down.T, h), h)
    # Of frozen features nobody asks for it, and nothing is computed.
    self._tap[i] = dz.astype(self._dtype)

  def _to_earlier(self, i, h):
    """What mixer i owes to the history that it read."""
    plan, rank = self._plan, self._rank
    kind = plan.kinds[i]
    same = plan.near(i, kind, -1)
    acts = [self._saved[j].act for j in same]
    if same and kind == 'channel':
      self._cross[i] = _dot('bnr,bnk->rk', h, _side(acts, 2))
    elif same:
      self._cross[i] = jnp.concatenate(
          [_dot('brd,bkd->brk', h, s).sum(0) for s in acts], 1)
    other = plan.near(i, 'token' if kind == 'channel' else 'channel', -1)
    if not other:
      return
    inner, up = self._saved[i].inner, self._weights(other, 'up')
    if kind == 'channel':
      grad = _dot('bnr,bkr->nk', h, inner).T
      out = _dot('bkn,bnr->bkr', _each(up, h), h)
    else:
      grad = _dot('brk,brd->kd', inner, h)
      out = _dot('brd,kd->brk', h, up)
    out, axis = kept(out.astype(self._dtype)), 1 if kind == 'channel' else 2
    for n, j in enumerate(other):
      self._up[j] += _at(grad, n, rank, 0)
      self._inner[j, i] = _at(out, n, rank, axis)


def _to_shape(x, shape):
  """Sums over what was broadcast from `shape`."""
  x = x.sum(tuple(range(x.ndim - len(shape))))
  return x.sum(
      [a for a, n in enumerate(shape) if n != x.shape[a]], keepdims=True)


def _mix_fwd(plan, mixers, crosses, taps):
  out, saved = _forward(plan, mixers, crosses, taps)
  return out, (mixers, crosses, taps, saved)


def _mix_bwd(plan, residuals, cotangents):
  mixers, crosses, taps, saved = residuals
  back = _Backward(plan, mixers, crosses, taps, saved)
  for i in reversed(range(len(plan.kinds))):
    back.mixer(i, cotangents[i])
  return back.result()


_mix.defvjp(_mix_fwd, _mix_bwd)
