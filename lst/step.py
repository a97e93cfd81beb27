"""One step of training and one of evaluation: pure, with no flag or branch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from lst import metrics
from lst.data import Batch


class TrainState(NamedTuple):
  """All that changes as a run goes on.

  Attributes:
    step: number of steps taken.
    params: what is trained; never a weight of the backbone.
    opt_state: of the optimizer.
  """

  step: Int[Array, '']
  params: Any
  opt_state: Any


def train_step(
    state: TrainState,
    frozen: Any,
    batch: Batch,
    *,
    predict: Callable,
    loss: Callable,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, metrics.Sums]:
  """The next state, and the sums of `batch` under the parameters before.

  Args:
    state: the state so far.
    frozen: weights of the backbone; not differentiated.
    batch: inputs (images (B, H, W, 3), or taps (B, N, D)), label (B,), mask
      (B,).
    predict: (params, frozen, inputs) -> logits (B, C).
    loss: (logits, labels) -> losses (B,).
    optimizer: takes gradients of `state.params`.
  """
  def mean_loss(params):
    logits = predict(params, frozen, batch.inputs)
    losses = loss(logits, batch.label)
    sums = metrics.sums(losses, logits, batch.label, batch.mask)
    return sums.loss / jnp.maximum(sums.count, 1.0), sums

  grads, sums = jax.grad(mean_loss, has_aux=True)(state.params)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  return TrainState(state.step + 1, params, opt_state), sums


def eval_step(
    params: Any, frozen: Any, batch: Batch, *, predict: Callable, loss: Callable
) -> metrics.Sums:
  """The sums of one batch."""
  logits = predict(params, frozen, batch.inputs)
  return metrics.sums(
      loss(logits, batch.label), logits, batch.label, batch.mask)
