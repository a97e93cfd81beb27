"""Metrics as sums and counts; the mean is taken once, on the host."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Sums(NamedTuple):
  """Sums over examples; those of two batches add up.

  Attributes:
    loss: of the loss, in nats.
    correct: number of examples whose label has the highest logit.
    count: number of examples, padding left out.
  """

  loss: Float[Array, ''] | np.ndarray | float = 0.0
  correct: Float[Array, ''] | np.ndarray | float = 0.0
  count: Float[Array, ''] | np.ndarray | float = 0.0

  def __add__(self, other: 'Sums') -> 'Sums':
    return jax.tree.map(lambda a, b: a + b, self, other)

  def means(self) -> dict[str, float]:
    """{'loss': nats, 'accuracy': in [0, 1]}; empty of examples, NaN."""
    count = float(self.count)
    if not count:
      return {'loss': float('nan'), 'accuracy': float('nan')}
    return {
        'loss': float(self.loss) / count,
        'accuracy': float(self.correct) / count,
    }

  def on_host(self) -> 'Sums':
    """The same in double precision on the host, so that millions add up."""
    return Sums(*(np.float64(x) for x in jax.device_get(self)))


def sums(
    losses: Float[Array, ' b'],
    logits: Float[Array, 'b c'],
    labels: Int[Array, ' b'],
    mask: Float[Array, ' b'],
) -> Sums:
  """The sums of one batch; `mask` is 0 where an example is padding."""
  hit = (jnp.argmax(logits, -1) == labels).astype(jnp.float32)
  return Sums(jnp.sum(losses * mask), jnp.sum(hit * mask), jnp.sum(mask))
