"""Mixers of clips on a running sum, which the backward pass takes apart again.

    y_i = y_{i-1} + U_i act(V_i b_i + V_i y_{i-1})      y_0 = 0

V_i b_i has been read of the tap (`lst.side.reading`). Of y one array is held:
the backward pass knows y_L and what each mixer put in, r wide, and so has every
y_{i-1} = y_i - U_i act(...) when it comes to it. The low-rank form of
`lst.side.mixing` reads what earlier mixers added as factors, L r / 3 wide along
each axis; along space and time that is wider than y is, and each read of it
dearer than one of y.

Operands are in the dtype of the taps; y and all sums are in f32.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.product import by_column, kept, times, turned
from lst.side.mixers import ACTIVATIONS
from lst.side.reading import Read, of_tap


class Chain(NamedTuple):
  """What is fixed.

  Attributes:
    kinds: of each mixer, of `reading.KINDS`.
    frames: T.
    activation: a key of `ACTIVATIONS`.
    dtype: of the taps.
  """

  kinds: tuple[str, ...]
  frames: int
  activation: str
  dtype: Any


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(
    chain: Chain,
    shape: tuple[int, ...],
    read: tuple[Array, ...],
    downs: tuple[Float[Array, 'r _'], ...],
    ups: tuple[Float[Array, 'r _'], ...],
) -> Float[Array, 'b n d']:
  """What all mixers have added to the tokens of clips, in f32.

  Args:
    chain: of the mixers.
    shape: (B, N, D) of the tokens.
    read: of its tap by each.
    downs, ups: V and U of each, transposed.
  """
  return _forward(chain, shape, read, downs, ups)[0]


def _forward(chain, shape, read, downs, ups):
  y, before = jnp.zeros(shape), []
  for i, kind in enumerate(chain.kinds):
    h = read[i]
    if i:
      h = h + _of(y, downs[i], chain, kind)
    before.append(kept(h.astype(chain.dtype)))
    y = kept(y + _spread(_act(before[-1], chain), ups[i], chain, kind))
  return y, (before, y, downs, ups)


def _backward(chain, shape, saved, dy):
  del shape
  before, y, downs, ups = saved
  out = []
  for i in reversed(range(len(before))):
    kind, act = chain.kinds[i], _act(before[i], chain)
    added, of_spread = jax.vjp(
        lambda a, up, kind=kind: _spread(a, up, chain, kind), act, ups[i])
    y = kept(y - added)
    da, dup = of_spread(dy)
    dh = jax.vjp(lambda x: _act(x, chain, jnp.float32), before[i])[1](
        da.astype(jnp.float32))[0].astype(chain.dtype)
    dh = kept(dh).astype(jnp.float32)
    ddown = jnp.zeros(downs[i].shape)
    if i:
      more, ddown = jax.vjp(
          lambda y, down, kind=kind: _of(y, down, chain, kind), y, downs[i]
      )[1](dh)
      dy = kept(dy + more)
    out.append((dh, ddown, dup))
  return tuple(zip(*reversed(out), strict=True))


run.defvjp(_forward, _backward)


def _act(before, chain, dtype=None):
  return ACTIVATIONS[chain.activation](before.astype(jnp.float32)).astype(
      dtype or chain.dtype)


def _of(y, down, chain, kind):
  return of_tap(y.astype(chain.dtype), Read(down, kind, chain.frames))


def _spread(act, up, chain, kind):
  """`up` along the own axis of a kind: (B, N, D) in f32."""
  if kind == 'channel':
    return times(act, up)
  b, width = len(act), act.shape[-1]
  if kind == 'space':
    out = by_column(turned(up), act.reshape(-1, *act.shape[2:]))
  else:
    out = by_column(turned(up), act.reshape(b, len(up), -1))
  return out.reshape(b, -1, width)
