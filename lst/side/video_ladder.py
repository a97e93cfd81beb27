"""LST on the frames of a clip: thin blocks over space, and over time."""

import functools
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features, Norm
from lst.side.ladder import Ladder
from lst.side.reading import Stream
from lst.side.refined import Added, Refined, average
from lst.side.thin import EPS, ThinBlock, attention
from lst.side.video import by_frame


class RefinedFrames(NamedTuple):
  """Tokens (B, T S, D) of clips that are pooled without being formed.

  Attributes:
    y: whose additions are all of channels.
    frames: T.
  """

  y: Refined
  frames: int

  def pooled(
      self, pool: str, prefix: int, norm: Norm | None
  ) -> Float[Array, 'b d']:
    """As `RefinedClip.pooled`."""
    y, skipped = self.y, prefix * (pool == 'patches')
    if pool == 'cls':
      y = Refined(self._first(y.base), Added(channel=tuple(
          (self._first(a), w) for a, w in y.added.channel)), y.scale)
    weights = by_frame(jnp.ones(y.base.shape[:2])[..., None], self.frames)
    weights = weights.at[:, :, :skipped].set(0.0)
    weights = weights / (self.frames * (weights.shape[2] - skipped))
    return average(y, weights.reshape(y.base.shape[:2]), norm)

  def _first(self, x: Float[Array, 'b n _']) -> Float[Array, 'b t _']:
    return by_frame(x, self.frames)[:, :, 0]


class ClipLadder(nn.Module):
  """LST on clips: every thin block reads time first, then each frame.

  The paper has no videos: this form is ours. The fields are those of `Ladder`,
  and beside them

  Attributes:
    frames: T; the taps (B, T S, D) hold the tokens of one frame after another.
    time_mixing: whether tokens at one place attend to each other over the
      frames, each with a learned vector of its time added. The output of that
      starts at zero: so the ladder starts as one on frames by themselves,
      which it stays without.
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = False

  frames: int
  reduction: int = 8
  skip: int = 0
  add_last: bool = False
  time_mixing: bool = True

  def prepare(self, features: Features) -> Features:
    """The features as they are: parameters touch every tap."""
    return features

  def stream(self) -> Stream:
    """As `prepare`, a tap at a time."""
    return Stream()

  @nn.compact
  def __call__(self, features: Features) -> RefinedFrames:
    """Features with L taps (B, T S, D) to refined tokens."""
    block = functools.partial(
        ClipBlock, frames=self.frames, time_mixing=self.time_mixing)
    y = Ladder(
        self.reduction, self.skip, self.add_last, block, name='ladder')(
        features)
    return RefinedFrames(y, self.frames)


class ClipBlock(nn.Module):
  """Attention over the times of each place, then a `ThinBlock` of each frame.

  Attributes:
    heads: divides the width.
    frames: T.
    time_mixing: False leaves the first half out.
  """

  heads: int
  frames: int
  time_mixing: bool

  @nn.compact
  def __call__(
      self, x: Float[Array, 'b n w'], dtype: jnp.dtype
  ) -> Float[Array, 'b n w']:
    """(B, T S, W); products take operands in `dtype`."""
    batch, tokens, width = x.shape
    if self.time_mixing:
      x = x + self._over_time(by_frame(x, self.frames), dtype).reshape(x.shape)
    x = x.reshape(batch * self.frames, -1, width)
    x = ThinBlock(self.heads, name='frame')(x, dtype)
    return x.reshape(batch, tokens, width)

  def _over_time(self, x, dtype):
    batch, times, places, width = x.shape
    when = self.param('when', nn.initializers.normal(0.02), (times, width))
    h = nn.LayerNorm(EPS, name='norm')(x + when[:, None]).astype(dtype)
    h = h.swapaxes(1, 2).reshape(batch * places, times, width)
    h = attention(self, h, self.heads, start=nn.initializers.zeros)
    return h.reshape(batch, places, times, width).swapaxes(1, 2)
