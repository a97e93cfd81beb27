"""LAST: low-rank self-attention beside a frozen backbone."""

import itertools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features
from lst.product import kept, product
from lst.side.low_rank import standardised
from lst.side.reading import Read, Stream, read
from lst.side.refined import Added, Refined


class LowRankAttention(nn.Module):
  """LAST (Tang et al., "Low-rank attention side-tuning", arXiv 2402.04009).

  With b_i the output of block i, every side block is self-attention of width
  r and nothing else, on the sum of all frozen states and of what the side
  blocks before it gave; the frozen sum is taken away at the end:

      u_i = s_i + LSA_i(s_i),  s_i = u_{i-1} + b_i     i = 1, ..., L - 1
      y   = b_L + (u_{L-1} - b_1 - ... - b_{L-1})
      LSA(s) = softmax(s Q (s K)^T / sqrt(r)) (s V) U,  Q, K, V (D, r), U (r, D)

  Each LSA has rank r: only its factors are kept, as in `LowRank`. U starts at
  zero, so y starts as b_L. Of no published code; our choices are one head, no
  biases, and that the frozen sum in s_i is brought to mean 0 and variance 1
  over its channels (sums of many states would saturate the softmax).

  Attributes:
    rank: r.
    skip: blocks at the start of the backbone without a side block.
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = False

  rank: int = 8
  skip: int = 0

  def prepare(self, features: Features) -> Features:
    """What no parameter touches: L - 1 standardised sums, and b_L."""
    sums = itertools.accumulate(
        tap.astype(jnp.float32) for tap in features.taps[:-1])
    dtype = features.taps[-1].dtype
    parts = tuple(standardised(x).astype(dtype) for x in sums)
    return features._replace(taps=(*parts, features.taps[-1]))

  def stream(self) -> Stream:
    """As `prepare`, a tap at a time: the sum is carried."""
    def take(carry, tap):
      carry = carry + tap.astype(jnp.float32)
      return carry, standardised(carry).astype(tap.dtype)

    return Stream(take, begin=lambda tap: jnp.zeros(tap.shape, jnp.float32))

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Prepared features, L taps (B, N, D), to refined tokens."""
    most, width = len(features.taps) - 1, features.taps[-1].shape[-1]
    if most < 1:
      raise ValueError(
          'LAST needs two taps or more, and there is one: its side blocks '
          'read those ahead of the last')
    if not 0 <= self.skip < most:
      raise ValueError(
          f'skip={self.skip} has to be from 0 to {most - 1}: one of the '
          f'{most} blocks ahead of the last keeps its side block')
    if self.rank < 1:
      raise ValueError(f'rank={self.rank} has to be at least 1')
    weights = [self._weights(i, width) for i in range(self.skip, most)]
    reads = tuple(Read(down) for down, _ in weights)
    found, last = read(features, (None,) * self.skip + reads + (None,))
    added = ()
    for h, (down, up) in zip(found[self.skip:-1], weights, strict=True):
      for a, w in added:
        h = h + product('bnr,rk->bnk', a, (w @ down.T).astype(a.dtype))
      added = (*added, (self._attend(h, last.dtype), up))
    return Refined(last, Added(channel=added))

  def _weights(self, i: int, width: int) -> tuple[Array, Array]:
    init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    down = jnp.concatenate([
        self.param(f'{kind}_{i}', init, (self.rank, width))
        for kind in ('query', 'key', 'value')])
    return down, self.param(
        f'up_{i}', nn.initializers.zeros, (self.rank, width))

  def _attend(
      self, h: Float[Array, 'b n _'], dtype: jnp.dtype
  ) -> Float[Array, 'b n r']:
    q, k, v = jnp.split(h.astype(dtype), 3, axis=-1)
    scores = product('bnr,bmr->bnm', q, k) * self.rank**-0.5
    weights = jax.nn.softmax(scores).astype(dtype)
    return kept(product('bnm,bmr->bnr', weights, v).astype(dtype))
