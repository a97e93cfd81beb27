"""The attentive probe: learned queries pool the frozen tokens."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lst.features import Features
from lst.product import by_pair, by_row
from lst.side.refined import Refined, normal

# Heads where their number is not given: those of ViT-B.
MOST = 12


class Attentive(nn.Module):
  """Attention pooling (Chen et al., "Context autoencoder", IJCV 2023).

  One learned query for each of H heads attends to all tokens x of the last
  state, under the checkpoint's final norm; head h takes D / H values:

      a_h = softmax(x q_h / sqrt(D / H)),   y_h = (a_h x) V_h

  The product of a learned query and the keys' weights is one vector q_h (D,),
  and values are taken of the pooled tokens: the same function, at a small part
  of its cost. Queries start at zero and V as the identity: so it starts as the
  mean of the normed tokens, whatever `pool` of the network says (our choice).

  The tokens of all frames of a clip are attended to together. Nothing tells
  one frame from another then, so each head learns a number for each frame that
  is added to its scores: all that a vector of the time, added to the keys
  alone, could do (ours).

  Attributes:
    heads: H; divides D. 0 takes the most, up to 12, that do.
    frames: T of clips, whose frames have such numbers; 0 for none.
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = True

  heads: int = 0
  frames: int = 0

  def prepare(self, features: Features) -> Features:
    """Features with one tap (B, N, D): the last state, normed."""
    x, norm = features.taps[-1], features.norm
    if norm is None:
      return Features((x,))
    y = normal(x, norm.eps) * norm.scale + norm.bias
    return Features((y.astype(x.dtype),))

  def stream(self) -> None:
    """No tap but the last is read."""

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Prepared features to one row (B, 1, D), pooled."""
    x = features.taps[-1]
    batch, _, width = x.shape
    heads = self.heads or next(h for h in range(MOST, 0, -1) if not width % h)
    if heads < 1 or width % heads:
      raise ValueError(
          f'heads={heads} has to divide the {width} channels; 0 takes the '
          f'most, up to {MOST}, that do')
    size = width // heads
    query = self.param('query', nn.initializers.zeros, (heads, width))
    value = self.param('value', _identities, (heads, width, size))
    scores = by_row(x, query) * size**-0.5 + self._of_frames(x.shape[1], heads)
    weights = jax.nn.softmax(scores, axis=1).astype(x.dtype)
    # (B, H, N) times (B, N, D), as rows of the one against rows of the other.
    rows = by_pair(weights.swapaxes(1, 2), x.swapaxes(1, 2))
    y = jnp.einsum('bhd,hde->bhe', rows, value)
    return Refined(y.reshape(batch, 1, width))

  def _of_frames(self, tokens: int, heads: int):
    """(N, H), or 0: what is added to the scores of each token."""
    if not self.frames:
      return 0.0
    if tokens % self.frames:
      raise ValueError(f'{tokens} tokens are not those of {self.frames} frames')
    time = self.param('time', nn.initializers.zeros, (self.frames, heads))
    return jnp.repeat(time, tokens // self.frames, axis=0)


def _identities(key, shape):
  """Head h passes its own channels on."""
  del key
  heads, width, size = shape
  return jnp.eye(width).reshape(width, heads, size).swapaxes(0, 1)
