"""LoSA on the frames of a clip: mixers of channels, space and time in turn.

A token has a time t, a place s and channels d. A mixer of one kind multiplies
along one of these axes, for each pair of the other two by itself:

    channel: h[t,s] = act(z[t,s] Wd) Wu               Wd (D, r), Wu (r, D)
    space:   h[t,:,d] = act(z[t,:,d] Wd) Wu           Wd (S, r), Wu (r, S)
    time:    h[:,s,d] = act(z[:,s,d] Wd) Wu           Wd (T, r), Wu (r, T)

So each h is an activation in which the mixer's own axis is r wide, spread
along that axis by a weight: (t,s,r), (t,r,d) or (r,s,d). What a later mixer
reads of it is Wd applied to the two factors, never to h: along the same axis
by the small product Wu Wd (r, r), along another by Wd on the activation
first and Wu on what is left, which is (t,r,r'), (r,s,r') or (r,r',d). This is
the form of `lst.side.low_rank`, with a third kind of factor.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features, Norm
from lst.product import by_column, by_row
from lst.side.low_rank import ACTIVATIONS, MIXERS, LowRank

# The letter of each kind's own axis among those of tokens.
AXES = {'channel': 'd', 'space': 's', 'time': 't'}
_TOKENS = 'btsd'


class Spread(NamedTuple):
  """What all mixers of one kind have added so far, r wide altogether.

  Attributes:
    act: (B, T, S, r), (B, T, r, D) or (B, r, S, D), by kind.
    up: (r, D), (r, S) or (r, T).
  """

  act: Float[Array, 'b x y z']
  up: Float[Array, 'r m']


Spreads = dict[str, Spread]


class RefinedClip(NamedTuple):
  """The tokens `scale * base + added` of clips."""

  base: Float[Array, 'b t s d']
  added: Spreads
  scale: float = 1.0

  def tokens(self, which: slice) -> Float[Array, 'b t k d']:
    """Some tokens of every frame, at full width in f32."""
    out = self.scale * self.base[:, :, which].astype(jnp.float32)
    for kind, (act, up) in self.added.items():
      if kind == 'space':
        up = up[:, which]
      else:
        act = act[:, :, which]
      out = out + _along(act, up.T, kind)
    return out

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
    x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + norm.eps)
    return x.mean((1, 2)) * norm.scale + norm.bias


class ClipLowRank(nn.Module):
  """LoSA on clips: the kinds of mixers take turns over the blocks.

  The fields are those of `LowRank`, and beside them

  Attributes:
    frames: T; the taps (B, T S, D) hold the tokens of one frame after another.
    token_mixing, time_mixing: whether space and time take their turns; without
      time, the order of the frames makes no difference.
    first: kind of the first mixer: 'channel' or 'token', which is space here.

  That video mixers cycle over channel, space and time is in the paper's
  abstract; the order and every default are our choice. Nothing as wide as the
  tokens is written while r is below T, S and D; a time mixer of r >= T has an
  activation as large as a tap.
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = False

  frames: int
  rank: int = 8
  residual: str = 'running'
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
    prepared = LowRank(
        rank=self.rank, residual=self.residual, first=self.first,
        activation=self.activation, tap_norm=self.tap_norm, parent=None,
    ).prepare(features)
    return prepared._replace(taps=prepared.taps[self.skip:])

  @nn.compact
  def __call__(self, features: Features) -> RefinedClip:
    """Prepared features, taps (B, T S, D), to refined tokens."""
    taps = [by_frame(tap, self.frames) for tap in features.taps]
    act = ACTIVATIONS[self.activation]
    added: Spreads = {}
    for i, z in enumerate(taps, self.skip):
      kind = self._kind(i)
      size = z.shape[_TOKENS.index(AXES[kind])]
      down, up = self._weights(i, kind, size)
      h = _of_tap(z, down, kind) + sum(
          _of_spread(added[k], k, down, kind) for k in added)
      added = added | {kind: _more(added, kind, act(h), up)}
    # Under the running residual, the frozen part of z_L is b_L + b_L.
    scale = 0.5 if self.residual == 'running' else 1.0
    return RefinedClip(taps[-1], added, scale)

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

  def __call__(self, features: Features) -> RefinedClip:
    """Returns the last tap (B, T S, D)."""
    return RefinedClip(by_frame(features.taps[-1], self.frames), {})


def by_frame(
    tap: Float[Array, 'b n d'], frames: int
) -> Float[Array, 'b t s d']:
  """The tokens of each frame by themselves.

  Raises:
    ValueError: the tokens are not those of so many frames.
  """
  batch, tokens, width = tap.shape
  if frames < 1 or tokens % frames:
    raise ValueError(
        f'{tokens} tokens are not those of {frames} frames: frames has to be '
        'that of the clips that the features are of')
  return tap.reshape(batch, frames, -1, width)


def _letters(kind: str, letter: str) -> str:
  """The axes of what a mixer of a kind has made of tokens."""
  return _TOKENS.replace(AXES[kind], letter)


def _of_tap(z, down, kind: str):
  """`down` along the own axis of its kind, where the tap stands as it is."""
  b, t, s, d = z.shape
  if kind == 'channel':
    return by_row(z.reshape(b, t * s, d), down).reshape(b, t, s, -1)
  if kind == 'space':
    return by_column(down, z.reshape(b * t, s, d)).reshape(b, t, -1, d)
  return by_column(down, z.reshape(b, t, s * d)).reshape(b, -1, s, d)


def _along(x, w, kind: str):
  """`w` (m, r) along the axis of `kind`, which is r wide in `x`, then m."""
  out = _letters(kind, 'm')
  return jnp.einsum(f'{_letters(kind, "r")},mr->{out}', x, w)


def _of_spread(of: Spread, kind: str, down, reader: str):
  """`down` of a mixer of kind `reader` on what mixers of `kind` have added."""
  if kind == reader:
    return _along(of.act, down @ of.up.T, kind)
  inner = _along(of.act, down, reader)
  return _along(inner, of.up.T, kind)


def _more(added: Spreads, kind: str, act, up) -> Spread:
  if kind not in added:
    return Spread(act, up)
  before, axis = added[kind], _TOKENS.index(AXES[kind])
  return Spread(
      jnp.concatenate([before.act, act], axis),
      jnp.concatenate([before.up, up]))
