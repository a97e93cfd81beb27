"""LAST: low-rank self-attention beside a frozen backbone."""

import itertools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features
from lst.product import by_row, kept, product
from lst.side.low_rank import standardised
from lst.side.refined import Added, Refined

# Low-rank tokens as their two factors, (B, N, r) and (r, D).
Pair = tuple[Float[Array, 'b n r'], Float[Array, 'r d']]


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

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Prepared features, L taps (B, N, D), to refined tokens."""
    *sums, last = features.taps
    if not 0 <= self.skip < len(sums):
      raise ValueError(
          f'skip={self.skip} has to be from 0 to {len(sums) - 1}: one of the '
          f'{len(sums)} blocks ahead of the last keeps its side block')
    if self.rank < 1:
      raise ValueError(f'rank={self.rank} has to be at least 1')
    added = ()
    for i, x in enumerate(sums):
      if i >= self.skip:
        added = (*added, self._attend(i, x, added))
    return Refined(last, Added(channel=added))

  def _attend(
      self, i: int, x: Float[Array, 'b n d'], added: tuple[Pair, ...]
  ) -> Pair:
    width, rank = x.shape[-1], self.rank
    init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    down = jnp.concatenate([
        self.param(f'{kind}_{i}', init, (rank, width))
        for kind in ('query', 'key', 'value')])
    up = self.param(f'up_{i}', nn.initializers.zeros, (rank, width))
    h = by_row(x, down)
    for a, w in added:
      h = h + product('bnr,rk->bnk', a, (w @ down.T).astype(a.dtype))
    q, k, v = jnp.split(h.astype(x.dtype), 3, axis=-1)
    scores = product('bnr,bmr->bnm', q, k) * rank**-0.5
    weights = jax.nn.softmax(scores).astype(x.dtype)
    h = product('bnm,bmr->bnr', weights, v)
    return kept(h.astype(x.dtype)), up
