"""Losses of one batch, as sums over its examples."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def cross_entropy(
    logits: Float[Array, 'b c'],
    labels: Int[Array, ' b'],
    smoothing: float = 0.0,
) -> Float[Array, ' b']:
  """Softmax cross-entropy of each example, in nats."""
  targets = optax.smooth_labels(
      jnp.eye(logits.shape[-1], dtype=logits.dtype)[labels], smoothing)
  return optax.softmax_cross_entropy(logits, targets)
