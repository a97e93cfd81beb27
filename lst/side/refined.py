"""Tokens that a side network refined, kept as a sum that is never formed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Norm
from lst.product import by_pair, by_row, kept


class Added(NamedTuple):
  """Low-rank additions to tokens (B, N, D), each as its two factors.

  Attributes:
    channel: activations (B, N, r) and weights (r, D) of each.
    token: weights (N, r) and activations (B, r, D) of each.
  """

  channel: tuple[tuple[Float[Array, 'b n r'], Float[Array, 'r d']], ...] = ()
  token: tuple[tuple[Float[Array, 'n r'], Float[Array, 'b r d']], ...] = ()

  def joined(self):
    """One pair of factors of each kind, or None."""
    def side_by_side(pairs, *axes):
      return pairs and tuple(
          jnp.concatenate([x.astype(jnp.float32) for x in factors], axis)
          for factors, axis in zip(zip(*pairs, strict=True), axes, strict=True))

    return side_by_side(self.channel, 2, 0), side_by_side(self.token, 1, 1)


class Refined(NamedTuple):
  """The tokens `scale * base + added`; pooled without being formed."""

  base: Float[Array, 'b n d']
  added: Added = Added()
  scale: float = 1.0

  def pooled(
      self, pool: str, prefix: int, norm: Norm | None
  ) -> Float[Array, 'b d']:
    """`refined.pooled` of it."""
    return pooled(self, pool, prefix, norm)


def normal(
    x: Float[Array, '... d'], eps: float | Array
) -> Float[Array, '... d']:
  """Mean 0 and variance 1 over the channels, in f32: a norm's without weights.
  """
  x = x.astype(jnp.float32)
  x = x - x.mean(-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + eps)


def row(y: Refined, token: int) -> Float[Array, 'b d']:
  """One token of `y`, in f32."""
  out = y.scale * y.base[:, token].astype(jnp.float32)
  for a, w in y.added.channel:
    out = out + a[:, token].astype(jnp.float32) @ w
  for u, s in y.added.token:
    # No product: XLA would turn all of s for it.
    out = out + jnp.sum(u[token][:, None] * s.astype(jnp.float32), 1)
  return out


def mean(y: Refined, weights: Float[Array, 'b n']) -> Float[Array, 'b d']:
  """The tokens' weighted sum `weights @ y`, in f32."""
  weights = weights[:, None]
  out = y.scale * jnp.matmul(
      weights.astype(y.base.dtype), y.base,
      preferred_element_type=jnp.float32)
  for a, w in y.added.channel:
    out = out + jnp.matmul(weights, a.astype(jnp.float32)) @ w
  for u, s in y.added.token:
    out = out + jnp.matmul(weights @ u, s.astype(jnp.float32))
  return out[:, 0]


def _gram(x, y):
  """Products of rows: (R, D), (S, D) or (B, S, D) to (R, S) or (B, R, S)."""
  return jnp.einsum('...rd,...sd->...rs', x, y)


def moments(y: Refined) -> tuple[Array, Array]:
  """Mean and variance over the channels of every token of `y`, each (B, N).

  With y = b + A W + U S and W, S centred over the channels,
  |y|^2 = |b|^2 + A (W b') + U (S b') twice, and the squares of the additions
  through the products of the rows of W and S among themselves; b needs no
  centring since the rows of W and S sum to zero. Nothing of size (N, D) is
  written.
  """
  b = y.base.astype(jnp.float32)
  average, variance = y.scale * b.mean(-1), y.scale**2 * b.var(-1)
  square = jnp.zeros(())
  channel, token = y.added.joined()
  if channel:
    a, w = channel
    average = average + a @ w.mean(-1)
    w = w - w.mean(-1, keepdims=True)
    cross = 2 * y.scale * by_row(y.base, w) + a @ _gram(w, w)
    square = square + jnp.sum(a * cross, -1)
  if token:
    u, s = token
    average = average + jnp.einsum('nr,br->bn', u, s.mean(-1))
    s = s - s.mean(-1, keepdims=True)
    cross = 2 * y.scale * by_pair(y.base, s) + u @ _gram(s, s)
    square = square + jnp.sum(u * cross, -1)
  if channel and token:
    square = square + 2 * jnp.sum(
        a * jnp.matmul(u, by_row(s.astype(y.base.dtype), w)), -1)
  return average, jnp.maximum(variance + square / b.shape[-1], 0.0)


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
    x = kept(row(y, 0))
    if norm is None:
      return x
    return normal(x, norm.eps) * norm.scale + norm.bias
  tokens = y.base.shape[1]
  weights = jnp.ones(y.base.shape[:2])
  if pool == 'patches':
    weights = weights.at[:, :prefix].set(0.0)
  return average(y, weights / (tokens - prefix * (pool == 'patches')), norm)


def average(
    y: Refined, weights: Float[Array, 'b n'], norm: Norm | None
) -> Float[Array, 'b d']:
  """The weighted sum of `norm(y)`, weights of sum 1, without forming y; f32."""
  if norm is None:
    return mean(y, weights)
  middle, variance = moments(y)
  # mean((y - m) / s) = (w / s) @ y - sum(w m / s): one weighted sum of tokens.
  weights = weights * jax.lax.rsqrt(variance + norm.eps)
  x = mean(y, weights) - jnp.sum(weights * middle, -1, keepdims=True)
  return x * norm.scale + norm.bias
