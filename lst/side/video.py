"""LoSA on the frames of a clip: mixers of channels, space and time in turn.

A token has a time t, a place s and channels d. A mixer of one kind multiplies
along one of these axes, for each pair of the other two by itself:

    channel: h[t,s] = act(z[t,s] Wd) Wu               Wd (D, r), Wu (r, D)
    space:   h[t,:,d] = act(z[t,:,d] Wd) Wu           Wd (S, r), Wu (r, S)
    time:    h[:,s,d] = act(z[:,s,d] Wd) Wu           Wd (T, r), Wu (r, T)

What they add is kept as one running sum, see `lst.side.running`.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features, Norm
from lst.side.low_rank import MIXERS, LowRank
from lst.side.reading import Read, Stream, read
from lst.side.refined import normal
from lst.side.running import Chain, run

# Position of each kind's own axis among those of tokens (B, T, S, D).
AXES = {'channel': 3, 'space': 2, 'time': 1}


class RefinedClip(NamedTuple):
  """The tokens `scale * base + added` of clips; `added` in f32, or None."""

  base: Float[Array, 'b t s d']
  added: Float[Array, 'b t s d'] | None = None
  scale: float = 1.0

  def tokens(self, which: slice) -> Float[Array, 'b t k d']:
    """Some tokens of every frame, at full width in f32."""
    out = self.scale * self.base[:, :, which].astype(jnp.float32)
    return out if self.added is None else out + self.added[:, :, which]

  def pooled(
      self, pool: str, prefix: int, norm: Norm | None
  ) -> Float[Array, 'b d']:
    """Mean over frames of `pool(norm(tokens))`.

    Only the tokens that are pooled are formed: one of each frame by 'cls'; by
    'mean' and 'patches' as much as one tap, once.

    Args:
      pool: 'cls' (the first token of each frame), 'mean' (all tokens) or
        'patches' (all but the first `prefix` of each frame).
      prefix: number of CLS and register tokens of a frame.
      norm: applied to every token ahead of pooling, or None.
    """
    x = self.tokens(
        {'cls': slice(1), 'mean': slice(None), 'patches': slice(prefix, None)}[
            pool])
    if norm is None:
      return x.mean((1, 2))
    return normal(x, norm.eps).mean((1, 2)) * norm.scale + norm.bias


class ClipLowRank(nn.Module):
  """LoSA on clips: the kinds of mixers take turns over the blocks.

  The fields are those of `LowRank`, and beside them

  Attributes:
    frames: T; the taps (B, T S, D) hold the tokens of one frame after another.
    token_mixing, time_mixing: whether space and time take their turns; without
      time, the order of the frames makes no difference.
    first: kind of the first mixer: 'channel' or 'token', which is space here.

  That video mixers cycle over channel, space and time is in the paper's
  abstract; the order and every default are our choice. A time mixer of r >= T
  has an activation as large as a tap.
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = False

  frames: int
  rank: int = 8
  residual: str = 'sum'
  skip: int = 0
  first: str = 'channel'
  token_mixing: bool = True
  time_mixing: bool = True
  activation: str = 'gelu'
  alpha: float = 1.0
  tap_norm: bool = False

  def prepare(self, features: Features) -> Features:
    """As `LowRank.prepare`, of the blocks that have a mixer alone.

    Args:
      features: L taps (B, T S, D).

    Returns:
      Features with L - skip taps (B, T S, D).
    """
    depth = len(features.taps)
    if not 0 <= self.skip < depth:
      raise ValueError(
          f'skip={self.skip} has to be from 0 to {depth - 1}: one of the '
          f'{depth} blocks keeps its mixer')
    prepared = self._plain().prepare(features)
    return prepared._replace(taps=prepared.taps[self.skip:])

  def stream(self) -> Stream:
    """As `prepare`, a tap at a time."""
    return self._plain().stream()._replace(skip=self.skip)

  def _plain(self) -> LowRank:
    return LowRank(
        rank=self.rank, residual=self.residual, first=self.first,
        activation=self.activation, tap_norm=self.tap_norm, parent=None)

  @nn.compact
  def __call__(self, features: Features) -> RefinedClip:
    """Prepared features, taps (B, T S, D), to refined tokens."""
    like = features.taps[-1]
    shape = _by_frame(like.shape, self.frames)
    blocks = range(self.skip, self.skip + len(features.taps))
    kinds = tuple(self._kind(i) for i in blocks)
    downs, ups = zip(*(
        self._weights(i, kind, shape[AXES[kind]])
        for i, kind in zip(blocks, kinds, strict=True)), strict=True)
    found, last = read(features, tuple(
        Read(down, kind, self.frames)
        for kind, down in zip(kinds, downs, strict=True)))
    with jax.named_scope('mixing'):
      added = run(
          Chain(kinds, self.frames, self.activation, like.dtype), like.shape,
          found, downs, ups)
    # Under the running residual, the frozen part of z_L is b_L + b_L.
    scale = 0.5 if self.residual == 'running' else 1.0
    return RefinedClip(by_frame(last, self.frames), added.reshape(shape), scale)

  def _kind(self, i: int) -> str:
    kinds = ['channel'] + ['space'] * self.token_mixing
    kinds += ['time'] * self.time_mixing
    start = MIXERS.index(self.first) if self.token_mixing else 0
    return kinds[(i + start) % len(kinds)]

  def _weights(self, i, kind, size):
    init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    down = self.param(f'{kind}_{i}_down', init, (self.rank, size))
    up = self.param(
        f'{kind}_{i}_up', nn.initializers.zeros, (self.rank, size))
    alpha = self.param(
        f'{kind}_{i}_alpha', nn.initializers.constant(self.alpha), ())
    return down, alpha * up


class ClipLinear(nn.Module):
  """Refines nothing: under `SideNetwork` the linear probe on clips.

  Attributes:
    frames: T.
  """

  refines: ClassVar[bool] = False
  pools: ClassVar[bool] = False

  frames: int

  def prepare(self, features: Features) -> Features:
    """Features with the last tap (B, T S, D) alone: no other is read."""
    return features._replace(taps=features.taps[-1:])

  def stream(self) -> None:
    """No tap but the last is read."""

  def __call__(self, features: Features) -> RefinedClip:
    """Returns the last tap (B, T S, D)."""
    return RefinedClip(by_frame(features.taps[-1], self.frames))


def by_frame(
    tap: Float[Array, 'b n d'], frames: int
) -> Float[Array, 'b t s d']:
  """The tokens of each frame by themselves.

  Raises:
    ValueError: the tokens are not those of so many frames.
  """
  return tap.reshape(_by_frame(tap.shape, frames))


def _by_frame(shape, frames: int) -> tuple[int, int, int, int]:
  batch, tokens, width = shape
  if frames < 1 or tokens % frames:
    raise ValueError(
        f'{tokens} tokens are not those of {frames} frames: frames has to be '
        'that of the clips that the features are of')
  return batch, frames, tokens // frames, width
