"""The programs of a training step, compiled for devices that are not there."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from lst import build, losses, sharding, step
from lst import method as methods
from lst import optimizer as optimizers
from lst.backbones import backbone as backbones
from lst.backbones.frozen import entering, of_clips
from lst.backbones.stacked import BLOCKS
from lst.data import OF_VIDEOS, Batch
from lst.features import Features, Norm
from lst.plan import flops

# Where there is no GPU no kernel can be timed: products go to cuBLAS.
OPTIONS = {'gpu': {
    'xla_gpu_autotune_level': 0, 'xla_gpu_enable_triton_gemm': False}}


class Sizes(NamedTuple):
  """Bytes on one device while a step runs.

  Attributes:
    weights: of the frozen backbone, as they lie in its memory.
    trained: parameters of what is trained.
    optimizer: its state.
    batch: the images.
    taps: features between the backbone and what is beside it, where they are
      kept; those of the next batch are under way with them.
    work: what else the compiler allots, at its highest.
    streamed: weights in host memory; no part of `total`.
  """

  weights: int
  trained: int
  optimizer: int
  batch: int
  taps: int
  work: int
  streamed: int

  @property
  def total(self) -> int:
    """Bytes in use at the highest."""
    return sum(self) - self.streamed


class Plan(NamedTuple):
  """What a step takes on one device.

  Attributes:
    sizes: of memory, or None where the compiler found no room.
    refused: what it then said.
    flops, forward_flops: of a step, and of the forward pass alone.
    seconds: that compiling took.
  """

  sizes: Sizes | None
  refused: str
  flops: float
  forward_flops: float
  seconds: float


class _Step(NamedTuple):
  """A training step and all that it takes, as shapes."""

  adapted: methods.Method
  backbone: backbones.Backbone
  train: Callable
  state: step.TrainState
  batch: Batch
  mesh: Any
  min_size: int


def plan(config, classes: int, found: list, frames: int | None = None) -> Plan:
  """Compiles the training step of a config; reads no data and no weights.

  Args:
    config: as a run has it.
    classes: of the classifier.
    found: the devices, which need not be there.
    frames: of a clip, 0 for images; None = what the config has its data read.

  Raises:
    ValueError: a field of the config is wrong.
  """
  of = _step(config, classes, found, frames_of(config, frames))
  began = time.monotonic()
  sizes, refused = _tried(of)
  seconds = time.monotonic() - began
  counted = flops.count(
      functools.partial(of.train, predict=of.adapted.predict), of.state,
      of.backbone.frozen, of.batch)
  # Of a stack one block is traced, not all.
  run = of.backbone.states or of.backbone.apply
  forward = flops.count(
      lambda w, x: run(w, entering(of.backbone, x)), of.backbone.frozen,
      of.batch.inputs)
  size = of.mesh.size
  return Plan(sizes, refused, counted / size, forward / size, seconds)


def memory(
    config, classes: int, found: list, frames: int
) -> tuple[Sizes | None, str]:
  """(`Plan.sizes`, `Plan.refused`) alone, of devices that are there, too."""
  return _tried(_step(config, classes, found, frames))


def frames_of(config, frames: int | None = None) -> int:
  """Of a clip of the config's data, unless they are given; 0 for images."""
  if frames is not None:
    return frames
  return config.data.video.frames if config.data.name in OF_VIDEOS else 0


def shaped(config, frames: int) -> backbones.Backbone:
  """The backbone of a config on clips or images, as shapes."""
  return of_clips(backbones.shaped(config.backbone), frames)


def _step(config, classes, found, frames) -> _Step:
  backbone = shaped(config, frames)
  mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, found)
  build.check_blocks(config.backbone.blocks, mesh)
  adapted = build.on_mesh(mesh, config, backbone, classes)
  rows = config.train.batch_size
  sharding.check_batch(rows, mesh, 'config.train.batch_size')
  state, batch, optimizer = _shapes(config, adapted, backbone)
  train = functools.partial(
      step.train_step, loss=losses.cross_entropy, optimizer=optimizer,
      parts=rows // (config.train.microbatch or rows), shards=mesh.size)
  return _Step(
      adapted, backbone, train, state, batch, mesh, config.mesh.min_size)


def _tried(of: _Step) -> tuple[Sizes | None, str]:
  try:
    return _sizes(*of), ''
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    return None, str(error).partition('\n')[0]


def _shapes(config, adapted, backbone):
  """The state and a batch as shapes, and the optimizer of the state."""
  rows = config.train.batch_size
  batch = Batch(
      jax.ShapeDtypeStruct((rows, *backbone.input_size, 3), np.uint8),
      jax.ShapeDtypeStruct((rows,), np.int32),
      jax.ShapeDtypeStruct((rows,), np.float32))
  options = config.optimizer
  optimizer = optimizers.at_rate(options, optax.constant_schedule(options.lr))
  params = jax.eval_shape(
      adapted.init, jax.random.key(0), backbone.frozen, batch.inputs)
  state = step.TrainState(
      jax.ShapeDtypeStruct((), np.int32), params,
      jax.eval_shape(optimizer.init, params))
  return state, batch, optimizer


def _sizes(
    adapted, backbone, train, state, batch, mesh, min_size) -> Sizes:
  everywhere, split = sharding.replicated(mesh), sharding.batched(mesh)
  frozen = _on(backbone.frozen, sharding.frozen(mesh, min_size))
  streamed = 0
  if backbone.blocks == 'host':
    where = everywhere.with_memory_kind('pinned_host')
    frozen[BLOCKS] = _on(frozen[BLOCKS], where)
    streamed = nbytes(frozen[BLOCKS])
  state, batch = _on(state, everywhere), _on(batch, split)
  if adapted.readout is None or train.keywords['parts'] > 1:
    of = functools.partial(train, predict=adapted.predict)
    used, taps = _compiled(of, state, frozen, batch, donated=0), 0
    work = _work(used)
  else:
    # As a run does it: features by a program of their own, then the step.
    made = _compiled(
        lambda w, x: adapted.extract(w, x).taps, frozen, batch.inputs)
    shapes = jax.eval_shape(adapted.extract, frozen, batch.inputs).taps
    shapes = _on(shapes, split)
    norm = frozen['norm']
    of = functools.partial(train, predict=_reader(adapted, backbone.eps))
    used = _compiled(
        of, state, norm, batch._replace(inputs=shapes), donated=0)
    taps = 2 * made.output_size_in_bytes
    work = max(made.temp_size_in_bytes, _work(used))
  return Sizes(
      nbytes(frozen) - streamed, nbytes(state.params), nbytes(state.opt_state),
      nbytes(batch), taps, work, streamed)


def _reader(adapted: methods.Method, eps: float) -> Callable:
  """`predict` on features that are there already."""
  def predict(params, norm, taps):
    norm = Norm(norm['scale'], norm['bias'], eps)
    return adapted.readout(params, Features(taps, norm))

  return predict


def _work(used) -> int:
  """Bytes of a program beside what it is given."""
  return (used.temp_size_in_bytes + used.output_size_in_bytes
          - used.alias_size_in_bytes)


def _compiled(function: Callable, *args: Any, donated: int | None = None):
  """What the compiler says of memory; the argument `donated` is used up."""
  lowered = jax.jit(function, donate_argnums=donated).lower(*args)
  device = jax.tree.leaves(args)[0].sharding.device_set.copy().pop()
  # A device that is there is compiled for as a run does it.
  here = device in jax.local_devices()
  return lowered.compile(
      None if here else OPTIONS.get(device.platform)).memory_analysis()


def _on(tree: Any, where) -> Any:
  """Shapes with their places; `where` is a sharding, or shape -> sharding."""
  return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(
          x.shape, x.dtype, sharding=where(x) if callable(where) else where),
      tree)


def nbytes(tree: Any) -> int:
  """Bytes of what a device holds of placed shapes; 4 bits take half of one."""
  def of(x):
    size = math.prod(x.sharding.shard_shape(x.shape))
    return size // 2 if x.dtype.name == 'int4' else size * x.dtype.itemsize

  return sum(map(of, jax.tree.leaves(tree)))
