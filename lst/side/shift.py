"""What the biases of mixers add to tokens: the same to every image."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.side.refined import Added


class Shift(NamedTuple):
  """Adds `channel[d] + token[n]` to token n at channel d.

  Attributes:
    channel: the sum of the second biases of channel mixers.
    token: the sum of those of token mixers.
  """

  channel: Float[Array, ' d']
  token: Float[Array, ' n']

  def seen(
      self, kind: str, down: Float[Array, 'r m'], bias: Float[Array, ' r']
  ) -> Array:
    """(N, r) or (r, D): the shift under a mixer's first weight, and its bias.
    """
    total = down.sum(1)
    if kind == 'channel':
      return down @ self.channel + bias + self.token[:, None] * total
    return (down @ self.token + bias)[:, None] + total[:, None] * self.channel

  def more(self, kind: str, bias: Float[Array, ' m']) -> 'Shift':
    """With one more second bias."""
    return self._replace(**{kind: getattr(self, kind) + bias})

  def join(self, added: Added, like: Float[Array, 'b n d']) -> Added:
    """As one more term of each kind, of rank 1."""
    ones = jnp.ones_like(like[:, :, :1]), jnp.ones_like(like[:, :1])
    return Added(
        (*added.channel, (ones[0], self.channel[None])),
        (*added.token, (self.token[:, None], ones[1])))
