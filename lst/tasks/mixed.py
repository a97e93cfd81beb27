"""Mixed batches: the rows of several tasks as one, and a step of all tasks.

Heads are padded to the most classes. The logits of classes that a task does
not have are put far below the others, so that they get no probability, no
gradient and no prediction; the loss and the accuracy are those of the task
alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lst import losses, step
from lst.data import Batch
from lst.features import Features
from lst.sweep import stacked

# Finite: zero times infinity, in the loss and its gradient, is no number.
FAR_BELOW = -1e9


class Plan(NamedTuple):
  """What differs between tasks beside their data; a leading axis K if stacked.

  Attributes:
    rates: the learning rate by update, zero after the last.
    steps: of the task.
    classes: which of the padded classes it has.
  """

  rates: Float[Array, '*k u']
  steps: Int[Array, '*k']
  classes: Bool[Array, '*k c']


def mix(batches: list[Batch], shards: int) -> Batch | None:
  """Batches of B rows each as one, on the host; None of no batch.

  Args:
    batches: of each task.
    shards: devices of this host. Each gets an equal part of every task, in the
      order of the tasks, so that `blocks` moves nothing between devices.
  """
  if not batches:
    return None

  def rows(*xs):
    x = np.stack(xs)
    x = x.reshape(len(xs), shards, -1, *x.shape[2:]).swapaxes(0, 1)
    return x.reshape(-1, *x.shape[3:])

  return jax.tree.map(rows, *batches)


def blocks(tree: Any, tasks: int, shards: int) -> Any:
  """The inverse of `mix`: arrays (K B, ...) to (K, B, ...).

  Args:
    tree: of arrays.
    tasks: K.
    shards: devices of all hosts.
  """
  def block(x):
    x = x.reshape(shards, tasks, -1, *x.shape[1:]).swapaxes(0, 1)
    return x.reshape(tasks, -1, *x.shape[3:])

  return jax.tree.map(block, tree)


def join(parts: list[Features]) -> Features:
  """Features with leading axes K, one after the other."""
  if len(parts) == 1:
    return parts[0]
  return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)


def only(
    classes: Bool[Array, ' c'], logits: Float[Array, 'b c']
) -> Float[Array, 'b c']:
  """The logits, those of classes that are not there far below."""
  return jnp.where(classes, logits, FAR_BELOW)


def train_step(
    runs: stacked.Runs, features: Features, label, mask, plan: Plan,
    *, one: Callable,
):
  """A step of each task on its own block.

  Args:
    runs: K tasks.
    features: of K blocks of B images.
    label, mask: (K, B).
    plan: of each task.
    one: (state, Batch, plan) -> (state, Sums) of one task.

  Returns:
    The tasks and their `metrics.Sums`, each (K,).
  """
  states = step.TrainState(runs.step, runs.params, runs.opt_state)
  states, sums = jax.vmap(one)(states, Batch(features, label, mask), plan)
  return runs._replace(**states._asdict()), sums


def one_step(
    state: step.TrainState, batch: Batch, plan: Plan, *, readout: Callable,
    smoothing: float, optimizer: Callable,
):
  """A step of one task; one that has taken all of its steps stays as it is.

  Args:
    state, plan: of the task.
    batch: `Features` as inputs.
    readout: (params, features) -> logits, of the most classes.
    smoothing: of the labels.
    optimizer: schedule -> optax.GradientTransformation.
  """
  def predict(params, classes, features):
    return only(classes, readout(params, features))

  def loss(logits, labels):
    return losses.padded_cross_entropy(
        logits, labels, plan.classes, smoothing)

  new, sums = step.train_step(
      state, plan.classes, batch, predict=predict, loss=loss,
      optimizer=optimizer(lambda count: plan.rates[count]))
  running = state.step < plan.steps
  state = jax.tree.map(lambda a, b: jnp.where(running, a, b), new, state)
  return state, jax.tree.map(lambda x: jnp.where(running, x, 0), sums)
