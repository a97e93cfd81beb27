"""Mixers of LoSA: which there are, their weights, products of their parts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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
    dtype: of the taps, and so of the operands of products.
  """

  kinds: tuple[str, ...]
  activation: str
  dtype: Any

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


class Saved(NamedTuple):
  """Of one mixer, for its backward pass.

  Attributes:
    before, act: h and its activation.
    inner: the T (B, K, r) or P (B, r, K) of its history, or None.
  """

  before: Array
  act: Array
  inner: Array | None


def dot(spec: str, x: Array, y: Array) -> Array:
  """`einsum`, summed and returned in f32."""
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


def each(
    w: Float[Array, 'r m'], like: Float[Array, 'b _ _']
) -> Float[Array, 'b r m']:
  """A weight once for every example: a flat product would turn `like`."""
  return jnp.broadcast_to(w, (like.shape[0], *w.shape))


def total(*terms: Array) -> Array:
  """The sum of them."""
  return sum(terms)


def side_by_side(arrays: list, axis: int) -> Array:
  """As one array."""
  return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis)


def cut(
    x: Float[Array, '*shape'], k: int, rank: int, axis: int
) -> Float[Array, '*part']:
  """The k-th of the arrays that stand side by side."""
  return jax.lax.slice_in_dim(x, k * rank, (k + 1) * rank, axis=axis)
