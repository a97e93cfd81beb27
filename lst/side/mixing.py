"""The mixers of LoSA in their low-rank form, with a backward pass by hand.

With W_j (r, D) and U_j (N, r) the second weights of a channel and of a token
mixer (each times its alpha), a_j (N, r) and s_j (r, D) their activations, V_i
the first weights (r, D) or (r, N), and z_i the frozen part of what mixer i
reads, the low-rank form is

    channel: p_i = z_i V_i^T + sum_j a_j (V_i W_j^T)^T + sum_j U_j (s_j V_i^T)
    token:   q_i = V_i z_i   + sum_j (V_i U_j) s_j     + sum_j (V_i a_j) W_j

over the mixers j < i of both kinds; z_i V_i^T and V_i z_i have been read of the
taps (`lst.side.reading`), all that follows is r wide. C_ij = V_i W_j^T and M_ij
= V_i U_j are products of weights alone. T_ji = s_j V_i^T (r, r) and P_ij = V_i
a_j (r, r) are made once for each j, for all later mixers i in one product. What
is multiplied in turn with U, C and W is the whole history, side by side. The
backward pass mirrors this: dT and dP are made for all earlier mixers at once,
and meet the later V side by side. So no array grows from mixer to mixer, and
every product over examples is a flat one.

Operands are in the dtype of the taps; sums are in f32.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lst.product import kept, turned
from lst.side.backward import Backward
from lst.side.mixers import (
  ACTIVATIONS,
  Mixer,
  Plan,
  Saved,
  cut,
  dot,
  each,
  side_by_side,
  total,
)


def mix(
    plan: Plan, mixers: tuple[Mixer, ...], read: tuple[Array, ...]
) -> tuple[Array, ...]:
  """Activations of every mixer: (B, N, r) or (B, r, D), in the taps' dtype.

  Args:
    plan: of the mixers.
    mixers: their weights.
    read: of its tap by each, in that shape.
  """
  with jax.named_scope('weights'):
    crosses = tuple(_cross(plan, mixers, i) for i in range(len(mixers)))
  return _mix(plan, mixers, crosses, read)


def _cross(plan, mixers, i):
  """C_i or M_i (r, K): mixer i's V and the earlier weights of its kind."""
  earlier = [mixers[j].up for j in plan.near(i, plan.kinds[i], -1)]
  if not earlier:
    return None
  return mixers[i].down @ jnp.concatenate(earlier).T


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mix(plan, mixers, crosses, read):
  return _forward(plan, mixers, crosses, read)[0]


def _forward(plan, mixers, crosses, read):
  dtype, rank = plan.dtype, mixers[0].down.shape[0]
  act = ACTIVATIONS[plan.activation]
  saved, ahead = [], {}

  def cast(x):
    return x.astype(dtype)

  for i, kind in enumerate(plan.kinds):
    with jax.named_scope('mixing'):
      more, inner = _history(plan, mixers, crosses, i, saved, ahead)
      h = total(read[i], *more)
    with jax.named_scope('activation'):
      if mixers[i].offset is not None:
        h = h + mixers[i].offset
      before = kept(cast(h))
      after = kept(cast(act(before.astype(jnp.float32))))
    saved.append(Saved(before, after, inner))
    with jax.named_scope('mixing'):
      later = plan.near(i, 'token' if kind == 'channel' else 'channel', 1)
      if later:
        v = cast(side_by_side([mixers[k].down for k in later], 0))
        if kind == 'channel':
          out = dot('bkn,bnr->bkr', each(v, after), after)
        else:
          out = dot('brd,kd->brk', after, v)
        out, axis = kept(cast(out)), 1 if kind == 'channel' else 2
        for n, k in enumerate(later):
          ahead[i, k] = cut(out, n, rank, axis)
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
      a = side_by_side([saved[j].act for j in same], 2)
      terms.append(dot('bnk,rk->bnr', a, cross))
    else:
      # Pair by pair: side by side, s would be copied at every mixer.
      for n, j in enumerate(same):
        m = each(cut(cross, n, rank, 1), saved[j].act)
        terms.append(dot('brk,bkd->brd', m, saved[j].act))
  if others:
    up = side_by_side([mixers[j].up for j in others], 0).astype(dtype)
    if kind == 'channel':
      inner = side_by_side([ahead[j, i] for j in others], 1)
      terms.append(dot('bnk,bkr->bnr', each(turned(up), inner), inner))
    else:
      inner = side_by_side([ahead[j, i] for j in others], 2)
      terms.append(dot('brk,kd->brd', inner, up))
  return terms, inner


def _mix_fwd(plan, mixers, crosses, read):
  out, saved = _forward(plan, mixers, crosses, read)
  return out, (mixers, crosses, saved)


def _mix_bwd(plan, residuals, cotangents):
  mixers, crosses, saved = residuals
  back = Backward(plan, mixers, crosses, saved)
  for i in reversed(range(len(plan.kinds))):
    back.mixer(i, cotangents[i])
  return back.result()


_mix.defvjp(_mix_fwd, _mix_bwd)
