"""The programs of a case: its frozen pass, and its step as runs take it."""

import functools
import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.efficiency.cases import CLASSES, FORWARD, METHODS, Case
from lst import cache, config, data, losses, step
from lst import method as methods
from lst.backbones import backbone as backbones
from lst.backbones.frozen import entering, of_clips

LR = 1e-3


class Program(NamedTuple):
  """What is timed.

  Attributes:
    run: makes one pass or step and returns when it is done.
    state_mib: of the weights, of what is trained, and of the optimizer.
  """

  run: Callable[[], Any]
  state_mib: float


def configured(case: Case):
  """The config that a run of the case would have."""
  out = config.default()
  out.backbone.weights = f'random:{case.model}'
  out.backbone.image_size = case.size
  out.update_from_flattened_dict(METHODS[case.method])
  out.side.pool = 'mean'
  # The default when this was measured.
  out.side.residual = 'running'
  out.train.batch_size = case.batch
  return out


def _filled(shapes: Any) -> Any:
  """Random weights of some shapes, made on the device."""
  def one(path, x):
    name = jax.tree_util.keystr(path)
    if name.endswith("['scale']"):
      return jnp.ones(x.shape, x.dtype)
    return _normal(zlib.crc32(name.encode()) % 2**31, x.shape, x.dtype)

  return jax.tree_util.tree_map_with_path(one, shapes)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _normal(seed, shape, dtype):
  scale = shape[0] ** -0.5 if len(shape) > 1 else 0.02
  return (scale * jax.random.normal(jax.random.key(seed), shape)).astype(dtype)


def backbone_of(case: Case) -> backbones.Backbone:
  """The frozen backbone of a case, without weights."""
  return of_clips(backbones.shaped(configured(case).backbone), case.frames)


def _batch(case: Case, backbone, rows: int) -> data.Batch:
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (rows, *backbone.input_size, 3), np.uint8)
  label = np.arange(rows, dtype=np.int32) % CLASSES
  return jax.device_put(data.Batch(images, label, np.ones(rows, np.float32)))


def build(case: Case, rows: int | None = None) -> Program:
  """The program of a case.

  Args:
    case: of it.
    rows: of the batch, if not those of the case.
  """
  backbone = backbone_of(case)
  frozen = _filled(backbone.frozen)
  batch = _batch(case, backbone, rows or case.batch)
  if case.method == FORWARD:
    passed = jax.jit(lambda w, x: backbone.apply(w, entering(backbone, x)))
    return Program(
        lambda: jax.block_until_ready(passed(frozen, batch.inputs)),
        _mib(frozen))
  method = methods.build(configured(case), backbone, CLASSES)
  params = jax.jit(method.init)(jax.random.key(0), frozen, batch.inputs[:1])
  optimizer = optax.adamw(LR)
  state = step.TrainState(
      jnp.int32(0), params, jax.jit(optimizer.init)(params))
  return Program(
      _step(method, optimizer, state, frozen, batch), _mib((frozen, state)))


def _step(method, optimizer, state, frozen, batch) -> Callable[[], Any]:
  """A step as `lst.train` takes it: of a side method in two programs."""
  predict, reads, ready = method.predict, frozen, lambda batch: batch
  if method.readout is not None:
    predict = methods.on_stored(method, cache.expand)
    norm = jax.jit(lambda w, x: method.extract(w, x).norm)(
        frozen, batch.inputs[:1])
    reads = cache.fit('exact', (), norm)

    def ready(batch):
      return batch._replace(inputs=method.run(frozen, batch.inputs).taps)

  take = jax.jit(functools.partial(
      step.train_step, predict=predict, loss=losses.cross_entropy,
      optimizer=optimizer))

  def run():
    nonlocal state
    state, sums = take(state, reads, ready(batch))
    return jax.block_until_ready((state, sums))

  return run


def _mib(tree: Any) -> float:
  return sum(x.nbytes for x in jax.tree.leaves(tree)) / 2**20


def planned_mib(case: Case) -> float | None:
  """What `lst.plan` expects a case to take; None where it is no step."""
  from lst.plan import programs  # here, for it imports what a run needs
  if case.method == FORWARD:
    return None
  sizes = programs.plan(
      configured(case), CLASSES, jax.devices()[:1], case.frames).sizes
  return sizes.total / 2**20 if sizes else math.inf
