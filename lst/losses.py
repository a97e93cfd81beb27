"""Losses of one batch, as sums over its examples."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def cross_entropy(
    logits: Float[Array, 'b c'],
    labels: Int[Array, ' b'],
    smoothing: float = 0.0,
) -> Float[Array, ' b']:
  """Softmax cross-entropy of each example, in nats."""
  targets = optax.smooth_labels(
      jnp.eye(logits.shape[-1], dtype=logits.dtype)[labels], smoothing)
  return optax.softmax_cross_entropy(logits, targets)


def padded_cross_entropy(
    logits: Float[Array, 'b c'],
    labels: Int[Array, ' b'],
    classes: Bool[Array, ' c'],
    smoothing: float = 0.0,
) -> Float[Array, ' b']:
  """`cross_entropy` over those `classes` that are True, alone.

  The logits of the others have to be far below (but finite: a product of zero
  and infinity is no number).
  """
  targets = jnp.eye(logits.shape[-1], dtype=logits.dtype)[labels]
  even = classes / jnp.sum(classes)
  targets = (1.0 - smoothing) * targets + smoothing * even
  return optax.softmax_cross_entropy(logits, targets)
