"""Trains one program on many placements: edges, rates and seeds are data."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.placement.tasks import BATCH, STEPS, Task
from lst import losses, method, optimizer, placement, side, step
from lst.data import Batch
from lst.features import Features, Norm

CHUNK = 100


class Trained(NamedTuple):
  """What a run ended with.

  Attributes:
    val_accuracy, val_loss, test_accuracy: of the last parameters.
    seconds: of training alone, compilation and evaluation left out.
  """

  val_accuracy: float
  val_loss: float
  test_accuracy: float
  seconds: float


class Program:
  """A training run and an evaluation, each compiled once.

  Args:
    task: that is trained on.
    init: seed -> parameters.
    predict: (params, frozen, rows of `field`) -> logits.
    field: of `tasks.Examples` that `predict` reads.
  """

  def __init__(
      self, task: Task, init: Callable[[int], Any], predict: Callable,
      field: str = 'states', steps: int = STEPS):
    self.task, self.init, self.field, self.steps = task, init, field, steps
    self._fit = jax.jit(functools.partial(_fit, task.config, predict))
    self._logits = jax.jit(functools.partial(_logits, predict))

  def run(self, frozen, lr: float, seed: int = 0) -> Trained:
    """Trains from `seed`, then evaluates.

    Args:
      frozen: second argument of `predict`.
      lr: peak of the rate.
      seed: of the parameters and of the order.
    """
    train = self.task.splits['train']
    order = _order(len(train.labels), self.steps, seed)
    args = (
        self.init(seed), frozen, getattr(train, self.field), train.labels,
        order, np.float32(lr))
    fit = self._compiled(args)
    started = time.monotonic()
    params = jax.block_until_ready(fit(*args))
    seconds = time.monotonic() - started
    (val, loss), (test, _) = (
        self.evaluate(params, frozen, split) for split in ('val', 'test'))
    return Trained(val, loss, test, seconds)

  def evaluate(self, params, frozen, split: str) -> tuple[float, float]:
    """(accuracy, mean loss) of a split."""
    examples = self.task.splits[split]
    number = len(examples.labels)
    rows = np.resize(np.arange(number), (-(-number // CHUNK), CHUNK))
    logits = self._logits(
        params, frozen, getattr(examples, self.field), rows)[:number]
    loss = losses.cross_entropy(logits, jnp.asarray(examples.labels))
    right = np.argmax(logits, -1) == examples.labels
    return float(right.mean()), float(loss.mean())

  def step_costs(self, *frozen) -> tuple[float, float]:
    """(FLOPs, seconds of the CPU) of a training step."""
    train = self.task.splits['train']
    few = 20
    args = (
        self.init(0), frozen, getattr(train, self.field), train.labels,
        _order(len(train.labels), few, 0), np.float32(1e-3))
    fit = self._fit.lower(*args).compile()
    jax.block_until_ready(fit(*args))
    taken = []
    for _ in range(3):
      started = time.process_time()
      jax.block_until_ready(fit(*args))
      taken.append(time.process_time() - started)
    # The compiler counts what a loop runs over once.
    return fit.cost_analysis()['flops'], min(taken) / few

  @functools.cached_property
  def _programs(self):
    return {}

  def _compiled(self, args):
    """Compiled ahead, so that `seconds` are those of training."""
    shapes = str(jax.tree.map(jnp.shape, args))
    if shapes not in self._programs:
      self._programs[shapes] = self._fit.lower(*args).compile()
    return self._programs[shapes]


def _order(examples: int, steps: int, seed: int) -> np.ndarray:
  """The rows of each batch: every epoch holds each example once."""
  rng = np.random.default_rng(seed)
  epochs = -(-steps * BATCH // examples)
  rows = np.concatenate([rng.permutation(examples) for _ in range(epochs)])
  return rows[:steps * BATCH].reshape(steps, BATCH).astype(np.int32)


def _fit(config, predict, params, frozen, inputs, labels, order, lr):
  steps = len(order)
  update = optimizer.build(
      config.optimizer, steps, len(labels) / BATCH, lr)
  train_step = functools.partial(
      step.train_step, predict=predict, loss=losses.cross_entropy,
      optimizer=update)

  def one(state, rows):
    batch = Batch(inputs[rows], labels[rows], jnp.ones(BATCH))
    return train_step(state, frozen, batch)[0], None

  state = step.TrainState(jnp.int32(0), params, update.init(params))
  return jax.lax.scan(one, state, order)[0].params


def _logits(predict, params, frozen, inputs, rows):
  logits = jax.lax.map(
      lambda some: predict(params, frozen, inputs[some]), rows)
  return logits.reshape(-1, logits.shape[-1])


def head_of(task: Task):
  """The head's network and what it starts with, all zeros."""
  network = method.head(task.config, task.backbone, task.classes)
  return network, {
      'kernel': jnp.zeros((task.backbone.width, task.classes)),
      'bias': jnp.zeros(task.classes)}


def placed(task: Task, count: int, adapter, steps: int = STEPS) -> Program:
  """Up to `count` adapters on edges; `frozen` is of `frozen_of`."""
  movable = placement.movable(task.backbone, adapter)
  network, zeros = head_of(task)

  def init(seed):
    adapters = movable.init(jax.random.key(seed), count)
    return {'adapters': adapters, 'head': zeros}

  def predict(params, frozen, states):
    blocks, (scale, bias), plan = frozen
    last = movable.apply(
        params['adapters'], blocks, states.swapaxes(0, 1), plan)
    features = Features(
        (last.astype(task.backbone.dtype),),
        Norm(scale, bias, task.backbone.eps))
    return network.apply({'params': {'head': params['head']}}, features)

  return Program(task, init, predict, steps=steps)


def frozen_of(task: Task, edges, count: int):
  """(blocks, norm, plan): what a program of `placed` reads."""
  backbone = task.backbone
  blocks = placement.movable(backbone, placement.Adapter()).blocks
  plan = placement.plan(
      placement.checked(edges, backbone.depth), backbone.depth, count)
  return blocks(backbone.frozen), norm_of(task), plan


def norm_of(task: Task):
  """(scale, bias) of the final norm."""
  norm = task.backbone.frozen['norm']
  return norm['scale'], norm['bias']


def tapped(task: Task, count: int) -> Program:
  """LoSA with blocks on `count` states; `frozen` is (norm, states taken)."""
  backbone = task.backbone
  network = side.build(
      task.config.side, task.classes, backbone.cls, backbone.prefix)

  def features(frozen, states):
    (scale, bias), taken = frozen
    taps = tuple(
        states[:, taken[k]].astype(backbone.dtype) for k in range(count))
    return network.prepare(
        Features(taps, Norm(scale, bias, backbone.eps)))

  def init(seed):
    frozen = norm_of(task), np.zeros(count, np.int32)
    some = features(frozen, task.splits['train'].states[:1])
    return network.init(jax.random.key(seed), some, method='readout')['params']

  def predict(params, frozen, states):
    return network.apply(
        {'params': params}, features(frozen, states), method='readout')

  return Program(task, init, predict)


def rival(task: Task, name: str) -> Program:
  """A method of `lst.method` that reads images; `frozen` are the weights."""
  config = task.config.copy_and_resolve_references()
  config.method = name
  made = method.build(config, task.backbone, task.classes)

  def init(seed):
    return made.init(
        jax.random.key(seed), task.backbone.frozen,
        task.splits['train'].images[:1])

  return Program(task, init, made.predict, field='images')
