"""Runs of one method on one task, all of them by one compiled step.

A run is that of `lst.train`, without validation on the way: the same initial
parameters, batches and rates. Rate and decay are arguments of the step, images
or features lie on the device, and what is frozen is shared, so that a run
costs its steps alone.
"""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lst import build, data, losses, optimizer, report, sharding, step
from lst.backbones import backbone as backbones
from lst.data import Batch
from lst.data.load import Loader, image_shape
from lst.features import Features

# Images that go through a forward pass at a time.
AT_ONCE = 100


class Examples(NamedTuple):
  """A split, decoded: images uint8 (N, H, W, 3), labels (N,)."""

  images: np.ndarray
  labels: np.ndarray


class Task(NamedTuple):
  """A task, read once for all methods.

  Attributes:
    name, group: of the task.
    classes: of its labels.
    splits: 'train' (800), 'val' (200), 'both' (1,000) and 'test'.
  """

  name: str
  group: str
  classes: int
  splits: dict[str, Examples]


def read(config, task) -> Task:
  """Reads a task of `lst.vtab`.

  Args:
    config: of any run; its backbone says how large images are.
    task: of a suite.
  """
  size = config.backbone.image_size
  fields = config.data.copy_and_resolve_references()
  fields.update(task.data | {
      'train': task.splits.train, 'val': task.splits.val,
      'test': task.splits.test})
  found = data.build(fields)
  parts = {'train': found.train, 'val': found.val, 'test': found.test}
  fields.update({'train': task.splits.both, 'val': '', 'test': ''})
  parts['both'] = data.build(fields).train
  splits = {}
  for name, split in parts.items():
    batch = Loader(split, image_shape(size), config.data.resize)(
        np.arange(split.size))
    splits[name] = Examples(batch.inputs, batch.label)
  return Task(task.name, task.group, len(found.classes), splits)


class Fitter:
  """A method with one value of its option on one task.

  Args:
    config: of the method; its rate, decay, seed and data count for nothing.
    task: that is learned.
    backbone: that `config` names, built.
  """

  def __init__(self, config, task: Task, backbone: backbones.Backbone):
    self._config, self._task = config, task
    self._mesh = sharding.make_mesh(1, 1, jax.local_devices()[:1])
    self._weights, self._size = backbone.frozen, backbone.input_size
    self._method = build.on_mesh(
        self._mesh, config, backbone._replace(frozen=None), task.classes)
    # A method that goes on through the backbone reads images.
    reads = self._method.extract and not self._method.resume
    self._extract = jax.jit(self._method.extract) if reads else None
    self._predict = self._readout if reads else self._method.predict
    # What `predict` reads beside inputs: weights, or the norm of features.
    self._frozen = None if reads else self._weights
    self._step = jax.jit(self._one, donate_argnums=0)
    self._logits = jax.jit(self._predict)
    self._inputs: dict[str, Any] = {}

  def _readout(self, params, norm, taps):
    return self._method.readout(params, Features(taps, norm))

  def accuracy(
      self, lr: float, weight_decay: float, seed: int, train: str, on: str,
      epochs: float | None = None,
  ) -> tuple[float, int]:
    """Trains on the split `train`, then scores the split `on`, once.

    Returns:
      Its accuracy, 0 where the parameters are no numbers any more, and the
      number of trained parameters.
    """
    params = self.fitted(lr, weight_decay, seed, train, epochs)
    count = report.count(params)
    if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(params)):
      return 0.0, count
    inputs, labels = self._of(on), self._task.splits[on].labels
    padded = np.arange(-len(labels) % AT_ONCE + len(labels)) % len(labels)
    guesses = np.concatenate([
        self._logits(params, self._frozen, _rows(inputs, rows)).argmax(-1)
        for rows in padded.reshape(-1, AT_ONCE)])
    return float((guesses[:len(labels)] == labels).mean()), count

  def fitted(
      self, lr: float, weight_decay: float, seed: int, train: str,
      epochs: float | None = None,
  ) -> Any:
    """The parameters at the end of a run."""
    options = self._config.optimizer
    batch_size = self._config.train.batch_size
    inputs, labels = self._of(train), self._task.splits[train].labels
    per_epoch = len(labels) / batch_size
    steps = int(np.ceil((epochs or self._config.train.epochs) * per_epoch))
    rates = jax.vmap(optimizer.schedule(options, steps, per_epoch, lr))(
        jnp.arange(steps))
    rows = data.train_rows(
        len(labels), lambda rows: rows, batch_size=batch_size, seed=seed,
        workers=0)
    params = self._init(seed)
    state = step.TrainState(
        jnp.int32(0), params, self._update(lr, weight_decay).init(params))
    for now, chosen in enumerate(itertools.islice(rows, steps)):
      batch = Batch(
          _rows(inputs, chosen), labels[chosen],
          np.ones(len(chosen), np.float32))
      state = self._step(state, self._frozen, batch, rates[now], weight_decay)
    return jax.block_until_ready(state.params)

  def _init(self, seed: int) -> Any:
    image = jax.ShapeDtypeStruct((1, *self._size, 3), np.uint8)
    return jax.jit(lambda key, frozen: self._method.init(key, frozen, image))(
        jax.random.key(seed), self._weights)

  def _update(self, rate, weight_decay) -> optax.GradientTransformation:
    return optimizer.at_rate(
        self._config.optimizer, lambda count: rate, weight_decay)

  def _one(self, state, frozen, batch, rate, weight_decay):
    """One step, whose program is one for splits of any size."""
    loss = functools.partial(
        losses.cross_entropy, smoothing=self._config.optimizer.label_smoothing)
    return step.train_step(
        state, frozen, batch, predict=self._predict, loss=loss,
        optimizer=self._update(rate, weight_decay))[0]

  def _of(self, split: str) -> Any:
    """What the steps read of a split: its images, or their features."""
    if split not in self._inputs:
      images = self._task.splits[split].images
      self._inputs[split] = (
          self._taps(images) if self._extract else images)
    return self._inputs[split]

  def _taps(self, images: np.ndarray) -> tuple:
    """What `extract` makes of all images, a few at a time."""
    count = len(images)
    padded = np.arange(-count % AT_ONCE + count) % count
    parts = [self._extract(self._weights, images[rows])
             for rows in padded.reshape(-1, AT_ONCE)]
    self._frozen = parts[0].norm
    return jax.tree.map(
        lambda *xs: jnp.concatenate(xs)[:count], *(p.taps for p in parts))


@jax.jit
def _taken(arrays, rows):
  return jax.tree.map(lambda x: x[rows], arrays)


def _rows(inputs: Any, rows: np.ndarray) -> Any:
  """Some rows of images, on the host, or of features, on the device."""
  return (
      inputs[rows] if isinstance(inputs, np.ndarray) else _taken(inputs, rows))
