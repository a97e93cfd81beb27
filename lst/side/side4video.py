"""Side4Video: thin blocks of convolution in time and attention in space."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.depthwise import depthwise
from lst.features import Features
from lst.side.low_rank import standardised
from lst.side.reading import Read, Stream, read
from lst.side.refined import Refined
from lst.side.thin import EPS, HEAD, attention, check_skip, dense, mlp, thinner
from lst.side.video import by_frame


class Side4Video(nn.Module):
  """Side4Video (Yao et al., arXiv 2311.15769), for classification.

  With b_i the output of block i, and x the patches of every frame in D /
  reduction channels, by the authors' code (HJYao00/Side4Video,
  `Recognition/clip/model.py`):

      c, p = norm(b_i) Wd_i               its CLS token, its patches
      x = (x + p) / 2
      x = x + conv(norm(x))               a dense layer, 3 frames, a dense layer
      x = x + attention([shift(c), x + s])     of each frame by itself
      x = x + MLP(norm(x))

  shift(c) holds half of the channels of the next frame's CLS token and half of
  the one before's, zero where there is none; s is a learned vector for each
  place; patches attend and that token is attended to alone. The last x is
  normed, averaged over all patches and classified: no state of the backbone is
  added, and `pool` and `norm` of the network have no effect.

  They embed the pixels anew for the first x, which is the first p here since a
  side network reads features alone; their norms ahead of the convolution, the
  MLP and the average are over the batch, all are over the channels here, so
  that no example depends on others; initial weights are ours. Without a CLS
  token patches attend to patches alone.

  Attributes:
    frames: T; the taps (B, T S, D) hold the tokens of one frame after another.
    cls: whether the first token of a frame is a CLS token.
    prefix: number of CLS and register tokens of a frame; registers are left
      out.
    reduction: how many times thinner than the backbone; the authors take 320
      channels beside the 768 of ViT-B.
    skip: blocks at the start of the backbone without a side block.
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = True

  frames: int
  cls: bool = True
  prefix: int = 1
  reduction: int = 8
  skip: int = 0

  def prepare(self, features: Features) -> Features:
    """What no parameter touches: the norm of the taps, registers left out.

    The scale and shift of that norm would do no more than Wd_i does.

    Args:
      features: L taps (B, T S, D).

    Returns:
      Features with L - skip taps (B, T (S - registers), D).
    """
    check_skip(self.skip, len(features.taps))
    return Features(tuple(map(self._seen, features.taps[self.skip:])))

  def stream(self) -> Stream:
    """As `prepare`, a tap at a time."""
    return Stream(
        lambda carry, tap: (carry, self._seen(tap)),
        lambda carry, tap: (self._seen(tap), None), skip=self.skip)

  def _seen(self, tap: Float[Array, 'b n d']) -> Float[Array, 'b m d']:
    x = by_frame(tap, self.frames)
    x = jnp.concatenate([x[:, :, :self.cls], x[:, :, self.prefix:]], 2)
    return standardised(x.reshape(len(tap), -1, tap.shape[-1]))

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Prepared features to one row (B, 1, W), pooled."""
    _, tokens, width = features.taps[-1].shape
    thin, x, steps = thinner(width, self.reduction), None, []
    for i in range(self.skip, self.skip + len(features.taps)):
      steps.append(self._step(i, thin, width))
      if len(steps) == 1:
        where = self.param(
            'where', nn.initializers.normal(0.01),
            (tokens // self.frames - self.cls, thin))
    found, last = read(features, tuple(Read(down) for down, _ in steps))
    for i, (y, (_, bias)) in enumerate(
        zip(found, steps, strict=True), self.skip):
      y = by_frame(y + bias, self.frames)
      token, y = y[:, :, :self.cls], y[:, :, self.cls:]
      x = y if x is None else 0.5 * (x + y)
      x = SideBlock(name=f'block_{i}')(x, shifted(token), where, last.dtype)
    x = nn.LayerNorm(EPS, name='norm')(x)
    return Refined(x.mean((1, 2))[:, None])

  def _step(self, i: int, thin: int, width: int) -> tuple[Array, Array]:
    init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    return (self.param(f'down_{i}', init, (thin, width)),
            self.param(f'down_{i}_bias', nn.initializers.zeros, (thin,)))


class SideBlock(nn.Module):
  """Convolution over time, attention of each frame, MLP; the stream in f32."""

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b t p w'],
      token: Float[Array, 'b t c w'],
      where: Float[Array, 'p w'],
      dtype: jnp.dtype,
  ) -> Float[Array, 'b t p w']:
    """Patches (B, T, P, W), beside C tokens that each frame attends to, too.

    Args:
      x: the patches.
      token: C is 0 or 1.
      where: added to what attends.
      dtype: of the operands of products.
    """
    shape = batch, times, _, width = x.shape
    frames, clips = (batch * times, -1, width), (batch, -1, width)
    h = nn.LayerNorm(EPS, name='norm1')(x).astype(dtype)
    h = dense(self, 'conv_down', h.reshape(clips), width)
    h = self._over_time(h.reshape(shape)).astype(dtype)
    x = x + dense(self, 'conv_up', h.reshape(clips), width).reshape(shape)
    h = jnp.concatenate([token, x + where], 2)
    h = nn.LayerNorm(EPS, name='norm2')(h).astype(dtype).reshape(frames)
    h = attention(self, h, _heads(width), silent=token.shape[2])
    x = x + h.reshape(shape)
    h = nn.LayerNorm(EPS, name='norm3')(x).astype(dtype)
    return x + mlp(self, h.reshape(clips)).reshape(shape)

  def _over_time(self, x):
    width = x.shape[-1]
    kernel = self.param(
        'conv_kernel', nn.initializers.normal(3 ** -0.5), (3, 1, 1, width))
    bias = self.param('conv_bias', nn.initializers.zeros, (width,))
    return depthwise(x[:, :, None], kernel)[:, :, 0] + bias


def shifted(x: Float[Array, 'b t c w']) -> Float[Array, 'b t c w']:
  """Half of the channels of the next frame, half of the one before.

  >>> shifted(jnp.float32([[[[1, 2]], [[3, 4]], [[5, 6]]]]))[0, :, 0].tolist()
  [[3.0, 0.0], [5.0, 2.0], [0.0, 4.0]]
  """
  half = x.shape[-1] // 2
  sides = ((0, 0), (0, 1), (0, 0), (0, 0)), ((0, 0), (1, 0), (0, 0), (0, 0))
  return jnp.concatenate([
      jnp.pad(x[:, 1:, :, :half], sides[0]),
      jnp.pad(x[:, :-1, :, half:], sides[1])], -1)


def _heads(width: int) -> int:
  """One for each 64 channels, as the authors have it, where that divides."""
  most = max(width // HEAD, 1)
  return max(h for h in range(1, most + 1) if width % h == 0)
