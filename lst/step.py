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
    parts: int = 1,
    shards: int = 1,
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
    parts: the batch goes through in so many parts, one after the other, whose
      gradients are added: the memory of activations is that of one part.
    shards: devices that the batch is split over; each part takes its share of
      the rows of each.
  """
  def total_loss(params, batch):
    logits = predict(params, frozen, batch.inputs)
    losses = loss(logits, batch.label)
    sums = metrics.sums(losses, logits, batch.label, batch.mask)
    return sums.loss, sums

  def of_part(batch):
    return jax.grad(total_loss, has_aux=True)(state.params, batch)

  grads, sums = _over_parts(of_part, batch, parts, shards)
  grads = jax.tree.map(lambda g: g / jnp.maximum(sums.count, 1.0), grads)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  return TrainState(state.step + 1, params, opt_state), sums


def _over_parts(f: Callable, batch: Batch, parts: int, shards: int):
  """The sum of `f(part)` over parts of a batch."""
  if parts == 1:
    return f(batch)

  def cut(x):
    # (B) = (shard, part, row): no row changes its device.
    x = x.reshape(shards, parts, -1, *x.shape[1:])
    return jnp.moveaxis(x, 1, 0).reshape(parts, -1, *x.shape[3:])

  cuts = jax.tree.map(cut, batch)
  first = jax.tree.map(lambda x: x[0], cuts)
  zeros = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(f, first))

  def add(total, part):
    return jax.tree.map(jnp.add, total, f(part)), None

  return jax.lax.scan(add, zeros, cuts)[0]


def eval_step(
    params: Any, frozen: Any, batch: Batch, *, predict: Callable,
    loss: Callable, views: int = 1,
) -> metrics.Sums:
  """The sums of one batch.

  Args:
    params, frozen, batch: as of `train_step`.
    predict: (params, frozen, inputs) -> logits (B, C).
    loss: (logits, labels) -> losses (B,).
    views: rows of each example, one after another: their logits are averaged.
  """
  logits = predict(params, frozen, batch.inputs)
  # Of an example some of whose views cannot be read, the others count.
  mask = batch.mask.reshape(-1, views)
  weights = mask / jnp.maximum(mask.sum(1, keepdims=True), 1.0)
  logits = logits.reshape(-1, views, logits.shape[-1])
  logits = jnp.sum(weights[:, :, None] * logits, 1)
  label, mask = batch.label.reshape(-1, views).max(1), mask.max(1)
  return metrics.sums(loss(logits, label), logits, label, mask)
