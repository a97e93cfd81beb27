"""LoSA: low-rank mixers of channels and tokens beside a frozen backbone."""

import itertools
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features
from lst.side.mixing import ACTIVATIONS, Mixer, Plan, mix
from lst.side.reading import Read, Stream, read
from lst.side.refined import Added, Refined, normal
from lst.side.shift import Shift

RESIDUALS = ('running', 'figure', 'sum')
MIXERS = ('channel', 'token')


class LowRank(nn.Module):
  """LoSA (Mercea et al., CVPR 2024), computed without ever forming its tokens.

  With b_i the output of block i, y_0 = b_L and z_i = b_i + y_{i-1},

      h_i = act(z_i Wd) Wu          channel mixer, Wd (D, r), Wu (r, D)
      h_i = (act(z_i^T Wd) Wu)^T    token mixer,   Wd (N, r), Wu (r, N)
      y_i = y_{i-1} + alpha_i h_i   or, as drawn in the paper, z_i + alpha_i h_i

  and the mixers take turns. A third reading, ours, sums the taps for the mixers
  alone, and puts what they add on the frozen features:

      z_i = b_1 + ... + b_i + r_{i-1} for i < L, z_L = b_L + r_{L-1}
      r_i = r_{i-1} + alpha_i h_i, r_0 = 0, y_L = b_L + r_L

  Each h_i has rank r, so only its two factors are kept: the products with later
  Wd, and pooling, work on the factors. Same function and gradients as the
  full-width form, to rounding. `prepare` forms what is frozen in every z_i,
  once; after it nothing of size (N, D) is written.

  The paper's figure gives the equations; every default below is our choice.

  Attributes:
    rank: r, the same for both kinds of mixer.
    residual: 'running' (y_i = y_{i-1} + ...), 'figure' (y_i = z_i + ...) or
      'sum' (the third). The figure's starts as b_L + sum of all b_i, the others
      as the frozen features.
    skip: blocks at the start without a mixer; the kinds stay as they were.
    first: kind of the first mixer, 'channel' or 'token'.
    token_mixing: False makes every mixer a channel mixer.
    activation: a key of `ACTIVATIONS`.
    alpha: initial value of the learned gain of each mixer.
    use_bias: biases on both products of a mixer.
    tap_norm: each tap is brought to mean 0 and variance 1 over its channels
      first (a layer norm without parameters), which deep ViTs, whose taps grow
      by orders of magnitude, may need.
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = False

  rank: int = 8
  residual: str = 'sum'
  skip: int = 0
  first: str = 'channel'
  token_mixing: bool = True
  activation: str = 'gelu'
  alpha: float = 1.0
  use_bias: bool = False
  tap_norm: bool = False

  def prepare(self, features: Features) -> Features:
    """What no parameter touches, once: the frozen part of every z_i.

    Args:
      features: L taps (B, N, D).

    Returns:
      Features with L taps (B, N, D): 'running' b_i + b_L; 'figure' b_L + b_1 +
      ... + b_i; 'sum' b_1 + ... + b_i, the last of them b_L.
    """
    self._check()
    taps = features.taps
    if self.tap_norm:
      taps = tuple(standardised(tap) for tap in taps)
    if self.residual == 'running':
      parts = tuple(tap + taps[-1] for tap in taps)
    elif self.residual == 'figure':
      parts = tuple(itertools.accumulate(taps, initial=taps[-1]))[1:]
    else:
      parts = (*itertools.accumulate(taps[:-1]), taps[-1])
    return features._replace(taps=parts)

  def stream(self) -> Stream:
    """As `prepare`, a tap at a time: b_i, or b_1 + ... + b_i."""
    self._check()
    shown = standardised if self.tap_norm else lambda tap: tap
    if self.residual == 'running':
      return Stream(
          lambda carry, tap: (carry, shown(tap)),
          lambda carry, tap: (shown(tap) + shown(tap), shown(tap)))

    def take(carry, tap):
      carry = carry + shown(tap)
      return carry, carry

    def begin(tap):
      return jnp.zeros(tap.shape, tap.dtype)

    if self.residual == 'figure':
      return Stream(
          take, lambda carry, tap: (carry + shown(tap), shown(tap)),
          begin=begin)
    return Stream(
        take, lambda carry, tap: (shown(tap), None), begin=begin)

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Prepared features, L taps (B, N, D), to refined tokens L mixers later."""
    self._check()
    depth, last = len(features.taps), features.taps[-1]
    if not 0 <= self.skip < depth:
      raise ValueError(
          f'skip={self.skip} has to be from 0 to {depth - 1}: one of the '
          f'{depth} blocks keeps its mixer')
    _, tokens, width = last.shape
    blocks = range(self.skip, depth)
    kinds = tuple(self._kind(i) for i in blocks)
    shift, mixers = Shift(jnp.zeros(width), jnp.zeros(tokens)), []
    for i, kind in zip(blocks, kinds, strict=True):
      mixer, shift = self._mixer(
          i, kind, width if kind == 'channel' else tokens, shift)
      mixers.append(mixer)
    reads = tuple(Read(m.down, k) for m, k in zip(mixers, kinds, strict=True))
    found, last = read(features, (None,) * self.skip + reads)
    plan = Plan(kinds, self.activation, last.dtype)
    acts = mix(plan, tuple(mixers), found[self.skip:])
    added = Added(
        tuple((a, m.up) for k, a, m in zip(kinds, acts, mixers, strict=True)
              if k == 'channel'),
        tuple((m.up.T, a) for k, a, m in zip(kinds, acts, mixers, strict=True)
              if k == 'token'))
    if self.use_bias:
      added = shift.join(added, last)
    # Under the running residual, the frozen part of z_L is b_L + b_L.
    scale = 0.5 if self.residual == 'running' else 1.0
    return Refined(last, added, scale)

  def _kind(self, i: int) -> str:
    turns = self.token_mixing and i % 2 == 1
    return MIXERS[(self.first == 'token' and self.token_mixing) != turns]

  def _mixer(
      self, i: int, kind: str, size: int, shift: Shift
  ) -> tuple[Mixer, Shift]:
    """The weights of mixer i, and what biases have added to the tokens."""
    # Wd is kept transposed, (r, D) or (r, N): its gradient is then a product
    # in which the tap stands as it is, and no tap is copied to be turned.
    init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    down = self.param(f'{kind}_{i}_down', init, (self.rank, size))
    up = self.param(
        f'{kind}_{i}_up', nn.initializers.zeros, (self.rank, size))
    alpha = self.param(
        f'{kind}_{i}_alpha', nn.initializers.constant(self.alpha), ())
    if not self.use_bias:
      return Mixer(down, alpha * up), shift
    inner = self.param(
        f'{kind}_{i}_down_bias', nn.initializers.zeros, (self.rank,))
    outer = self.param(f'{kind}_{i}_up_bias', nn.initializers.zeros, (size,))
    offset = shift.seen(kind, down, inner)
    return Mixer(down, alpha * up, offset), shift.more(kind, alpha * outer)

  def _check(self):
    for field, value, known in (
        ('residual', self.residual, RESIDUALS), ('first', self.first, MIXERS),
        ('activation', self.activation, tuple(ACTIVATIONS))):
      if value not in known:
        raise ValueError(f'{field}={value!r} is none of {", ".join(known)}')
    if self.rank < 1:
      raise ValueError(f'rank={self.rank} has to be at least 1')


def standardised(tap: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
  """Mean 0 and variance 1 over the channels of every token."""
  return normal(tap, 1e-6).astype(tap.dtype)
