"""Tokens that a side network refined, kept as a sum that is never formed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Norm
from lst.product import by_column, by_pair, by_row, kept, times


class Added(NamedTuple):
  """Low-rank additions to tokens (B, N, D), each kind as its two factors.

  Attributes:
    channel: activations (B, N, R) times weights (R, D), or None.
    token: weights (N, R) times activations (B, R, D), or None.
  """

  channel: tuple[Float[Array, 'b n r'], Float[Array, 'r d']] | None = None
  token: tuple[Float[Array, 'n r'], Float[Array, 'b r d']] | None = None

  def across_channels(
      self, down: Float[Array, 'r d']
  ) -> Float[Array, 'b n r'] | float:
    """`y @ down^T` of the added tokens y."""
    out = 0.0
    if self.channel:
      a, w = self.channel
      out = out + by_row(a, down @ w.T)
    if self.token:
      u, s = self.token
      out = out + by_column(u, by_row(s, down).astype(s.dtype))
    return out

  def across_tokens(
      self, down: Float[Array, 'r n']
  ) -> Float[Array, 'b r d'] | float:
    """`down @ y` of the added tokens y."""
    out = 0.0
    if self.channel:
      a, w = self.channel
      out = out + times(by_column(down, a).astype(a.dtype), w)
    if self.token:
      u, s = self.token
      out = out + by_column(down @ u, s)
    return out

  def with_channel(self, left, right) -> 'Added':
    """With one more term of the first kind."""
    if self.channel:
      a, w = self.channel
      left = jnp.concatenate([a, left], 2)
      right = jnp.concatenate([w, right], 0)
    return self._replace(channel=(left, right))

  def with_token(self, left, right) -> 'Added':
    """With one more term of the second kind."""
    if self.token:
      u, s = self.token
      left = jnp.concatenate([u, left], 1)
      right = jnp.concatenate([s, right], 1)
    return self._replace(token=(left, right))


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


def row(y: Refined, token: int) -> Float[Array, 'b d']:
  """One token of `y`, in f32."""
  out = y.scale * y.base[:, token].astype(jnp.float32)
  if y.added.channel:
    a, w = y.added.channel
    out = out + a[:, token].astype(jnp.float32) @ w
  if y.added.token:
    u, s = y.added.token
    out = out + jnp.einsum('r,brd->bd', u[token], s.astype(jnp.float32))
  return out


def mean(y: Refined, weights: Float[Array, 'b n']) -> Float[Array, 'b d']:
  """The tokens' weighted sum `weights @ y`, in f32."""
  weights = weights[:, None]
  out = y.scale * jnp.matmul(
      weights.astype(y.base.dtype), y.base,
      preferred_element_type=jnp.float32)
  if y.added.channel:
    a, w = y.added.channel
    out = out + jnp.matmul(weights, a.astype(jnp.float32)) @ w
  if y.added.token:
    u, s = y.added.token
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
  if y.added.channel:
    a, w = (x.astype(jnp.float32) for x in y.added.channel)
    average = average + a @ w.mean(-1)
    w = w - w.mean(-1, keepdims=True)
    cross = 2 * y.scale * by_row(y.base, w) + a @ _gram(w, w)
    square = square + jnp.sum(a * cross, -1)
  if y.added.token:
    u, s = (x.astype(jnp.float32) for x in y.added.token)
    average = average + jnp.einsum('nr,br->bn', u, s.mean(-1))
    s = s - s.mean(-1, keepdims=True)
    cross = 2 * y.scale * by_pair(y.base, s) + u @ _gram(s, s)
    square = square + jnp.sum(u * cross, -1)
  if y.added.channel and y.added.token:
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
