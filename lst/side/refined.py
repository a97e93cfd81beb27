"""Tokens that a side network refined, kept as a sum that is never formed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Norm


class Term(NamedTuple):
  """A low-rank addition `left @ right` to tokens of shape (B, N, D).

  One side is a function of the example, the other may be a weight: then its
  batch axis has length one.
  """

  left: Float[Array, 'b1 n r']
  right: Float[Array, 'b2 r d']


class Refined(NamedTuple):
  """The tokens `base + sum of left @ right`; pooled without being formed."""

  base: Float[Array, 'b n d']
  terms: tuple[Term, ...] = ()


def row(y: Refined, token: int) -> Float[Array, 'b d']:
  """One token of `y`, in f32."""
  out = y.base[:, token].astype(jnp.float32)
  for left, right in y.terms:
    out = out + jnp.matmul(left[:, token, None], right)[:, 0]
  return out


def mean(y: Refined, weights: Float[Array, 'b n']) -> Float[Array, 'b d']:
  """The tokens' weighted sum `weights @ y`, in f32."""
  out = jnp.einsum(
      'bn,bnd->bd', weights.astype(y.base.dtype), y.base,
      preferred_element_type=jnp.float32)
  for left, right in y.terms:
    out = out + jnp.matmul(jnp.matmul(weights[:, None], left), right)[:, 0]
  return out


def moments(y: Refined) -> tuple[Array, Array]:
  """Mean and variance over the channels of every token of `y`, each (B, N).

  With y = b + A B and both centred over the channels,
  |y|^2 = |b|^2 + 2 A (B b) + (A B)(A B)', and B b needs no centred b since
  the rows of B sum to zero. Nothing of size (N, D) is written.
  """
  b = y.base.astype(jnp.float32)
  average, variance = b.mean(-1), b.var(-1)
  if not y.terms:
    return average, variance
  batch, _, width = y.base.shape
  left = [jnp.broadcast_to(t.left, (batch, *t.left.shape[1:])) for t in y.terms]
  left = jnp.concatenate(left, -1)
  right = [
      jnp.broadcast_to(t.right, (batch, *t.right.shape[1:])) for t in y.terms]
  right = jnp.concatenate(right, 1)
  shift = right.mean(-1)
  right = right - shift[..., None]
  average = average + jnp.einsum('bnr,br->bn', left, shift)
  cross = jnp.einsum(
      'bnd,brd->bnr', y.base, right.astype(y.base.dtype),
      preferred_element_type=jnp.float32)
  gram = jnp.einsum('brd,bsd->brs', right, right)
  square = jnp.einsum('bnr,bnr->bn', left, 2 * cross + left @ gram)
  return average, jnp.maximum(variance + square / width, 0.0)


def pooled(
    y: Refined, pool: str, prefix: int, norm: Norm | None
) -> Float[Array, 'b d']:
  """`pool(norm(y))`, exactly, without forming y.

  Args:
    y: the refined tokens.
    pool: 'cls' (the first token), 'mean' (over all tokens) or 'patches' (over
      all but the first `prefix`).
    prefix: number of CLS and register tokens.
    norm: applied to every token ahead of pooling, or None.

  Returns:
    (B, D) in f32.
  """
  if pool == 'cls':
    x = row(y, 0)
    if norm is None:
      return x
    x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + norm.eps)
    return x * norm.scale + norm.bias
  batch, tokens, _ = y.base.shape
  weights = jnp.ones((batch, tokens))
  if pool == 'patches':
    weights = weights.at[:, :prefix].set(0.0)
  weights = weights / (tokens - prefix * (pool == 'patches'))
  if norm is None:
    return mean(y, weights)
  average, variance = moments(y)
  # mean((y - m) / s) = (w / s) @ y - sum(w m / s): one weighted sum of tokens.
  weights = weights * jax.lax.rsqrt(variance + norm.eps)
  x = mean(y, weights) - jnp.sum(weights * average, -1, keepdims=True)
  return x * norm.scale + norm.bias


