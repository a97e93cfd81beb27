"""All parts of a run, each made of its part of the config."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from lst import cache, data, losses, optimizer, sharding, step
from lst import method as methods
from lst.backbones import backbone as backbones
from lst.backbones import placing
from lst.backbones.frozen import of_clips


class Built(NamedTuple):
  """What a run is made of.

  Attributes:
    mesh: of all devices.
    dataset: its splits and classes.
    backbone: without its weights.
    weights: of the backbone, on the mesh.
    method: what is trained.
    predict: (params, frozen, inputs) -> logits, as training calls it: that of
      `method`, or its `readout` on stored features.
    frozen: the second argument of `predict`: `weights`, or the codebook of
      stored features.
    state: at step 0, on the mesh.
    optimizer: of `state`.
    loss: (logits, labels) -> losses (B,).
    train_step, eval_step: jitted, of `predict`. A step takes its state's
      memory for the next one's: the state given is gone.
    parts: that a batch goes through a training step in.
    steps, steps_per_epoch: of the whole run; of a pass over the training data.
  """

  mesh: Mesh
  dataset: data.Data
  backbone: backbones.Backbone
  weights: Any
  method: methods.Method
  predict: Callable
  frozen: Any
  state: step.TrainState
  optimizer: optax.GradientTransformation
  loss: Callable
  train_step: Callable
  eval_step: Callable
  parts: int
  steps: int
  steps_per_epoch: float


def build(config) -> Built:
  """Makes every part that `config` names; compiles no step yet."""
  mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
  if config.seed < 0:
    raise ValueError(f'config.seed={config.seed} has to be 0 or more')
  _check(config.train, mesh)
  check_blocks(config.backbone.blocks, mesh)
  dataset = data.build(config.data)
  # What cannot be is told ahead of the backbone, whose weights may be large.
  data.viewed(dataset.train, config.data.augment, config.data.views)
  backbone = backbones.build(config.backbone)
  weights = sharding.place(backbone.frozen, placing.in_its_memory(
      sharding.frozen(mesh, config.mesh.min_size)))
  return _assemble(
      config, mesh, dataset, backbone._replace(frozen=None), weights)


def rebuilt(built: Built, config) -> Built:
  """The same data and backbone under another method and optimizer."""
  other = _assemble(
      config, built.mesh, built.dataset, built.backbone, built.weights)
  if built.predict is built.method.predict:
    return other
  return on_stored(other, built.frozen)


def beside(built: Built, config) -> Built:
  """Other data on the same backbone: the parts of a run of `config`."""
  return _assemble(
      config, built.mesh, data.build(config.data), built.backbone,
      built.weights)


def on_stored(built: Built, codebook) -> Built:
  """A method with `extract` whose batches are stored features, not images.

  Args:
    built: of such a method.
    codebook: of the cache.
  """
  frozen = sharding.place(codebook, sharding.replicated(built.mesh))
  if built.method.resume:
    frozen = frozen, built.weights
  return _with_predict(
      built, methods.on_stored(built.method, cache.expand), frozen)


def on_mesh(mesh, config, backbone, classes) -> methods.Method:
  """The method that `config` names, on weights that lie on a mesh."""
  gather = sharding.gatherer(mesh)
  if gather is not None:
    backbone = backbone._replace(
        apply=functools.partial(backbone.apply, gather=gather))
  return methods.build(config, backbone, classes)


def method_here(built: Built, config) -> tuple[methods.Method, Any, Mesh]:
  """(method, weights, mesh) of the devices of this host alone."""
  mesh = sharding.local_mesh(built.mesh)
  method = on_mesh(mesh, config, built.backbone, len(built.dataset.classes))
  return method, sharding.on_this_host(built.weights, mesh), mesh


def norm_of(built: Built, image: np.ndarray) -> Any:
  """The final norm of features; `image` (1, H, W, 3), or a clip, may be any."""
  if built.backbone.steps:
    return built.method.run(built.weights, image).norm
  return jax.jit(lambda w, x: built.method.extract(w, x).norm)(
      built.weights, image)


def plain_extract(built: Built, config) -> Callable:
  """The same function however the weights lie, for the key of a cache."""
  return methods.build(
      config, built.backbone, len(built.dataset.classes)).extract


def averaging(built: Built, views: int) -> Built:
  """With an `eval_step` that averages the logits of the views of an example.

  Args:
    built: whose `eval_step` takes a row for one example.
    views: rows of each example, one after another; 1 changes nothing.
  """
  if views == 1:
    return built
  evaluated = functools.partial(
      step.eval_step, predict=built.predict, loss=losses.cross_entropy,
      views=views)
  return built._replace(eval_step=jax.jit(
      evaluated, out_shardings=sharding.replicated(built.mesh)))


def initialiser(built: Built, config) -> Callable:
  """(key, weights) -> the parameters that a run of `config` starts with."""
  method = methods.build(config, built.backbone, len(built.dataset.classes))
  return _initialiser(method, built.backbone.input_size, built.mesh)


def _initialiser(method, input_size, mesh) -> Callable:
  def init(key, weights):
    image = jax.ShapeDtypeStruct((1, *input_size, 3), np.uint8)
    return method.init(key, weights, image)

  return jax.jit(init, out_shardings=sharding.replicated(mesh))


def _assemble(config, mesh, dataset, backbone, weights) -> Built:
  backbone = of_clips(backbone, dataset.frames)
  method = on_mesh(mesh, config, backbone, len(dataset.classes))
  steps_per_epoch = dataset.train.size / config.train.batch_size
  steps = math.ceil(config.train.epochs * steps_per_epoch)
  update = optimizer.build(config.optimizer, steps, steps_per_epoch)
  params = _initialiser(method, backbone.input_size, mesh)(
      jax.random.key(config.seed), weights)
  state = sharding.place(
      step.TrainState(np.int32(0), params, jax.jit(update.init)(params)),
      sharding.replicated(mesh))
  loss = functools.partial(
      losses.cross_entropy, smoothing=config.optimizer.label_smoothing)
  built = Built(
      mesh, dataset, backbone, weights, method, None, None, state, update, loss,
      None, None, _parts(config.train, mesh), steps, steps_per_epoch)
  return _with_predict(built, method.predict, weights)


def _with_predict(built: Built, predict, frozen) -> Built:
  everywhere = sharding.replicated(built.mesh)
  train_step = functools.partial(
      step.train_step, predict=predict, loss=built.loss,
      optimizer=built.optimizer, parts=built.parts, shards=built.mesh.size)
  eval_step = functools.partial(
      step.eval_step, predict=predict, loss=losses.cross_entropy)
  return built._replace(
      predict=predict, frozen=frozen,
      train_step=jax.jit(
          train_step, out_shardings=everywhere, donate_argnums=0),
      eval_step=jax.jit(eval_step, out_shardings=everywhere))


def _parts(config, mesh) -> int:
  """How many micro-batches a batch is."""
  if not config.microbatch:
    return 1
  sharding.check_batch(config.microbatch, mesh, 'config.train.microbatch')
  if config.batch_size % config.microbatch:
    raise ValueError(
        f'config.train.microbatch={config.microbatch} does not divide '
        f'config.train.batch_size={config.batch_size}')
  return config.batch_size // config.microbatch


def _check(config, mesh) -> None:
  for field in ('batch_size', 'eval_batch_size', 'log_steps'):
    if config[field] < 1:
      raise ValueError(
          f'config.train.{field}={config[field]} has to be at least 1')
  for field in ('epochs', 'eval_epochs'):
    if not 0 < config[field] < math.inf:
      raise ValueError(
          f'config.train.{field}={config[field]} has to be above 0')
  if config.microbatch < 0:
    raise ValueError(
        f'config.train.microbatch={config.microbatch} has to be 0 (the whole '
        'batch) or more')
  if config.checkpoint_steps < 0:
    raise ValueError(
        f'config.train.checkpoint_steps={config.checkpoint_steps} has to be 0 '
        '(only with validation) or more')
  for field in ('batch_size', 'eval_batch_size'):
    sharding.check_batch(config[field], mesh, f'config.train.{field}')


def check_blocks(blocks, mesh) -> None:
  """Raises ValueError if the blocks are a stack that the mesh cannot hold."""
  if blocks != 'loop' and 'fsdp' in mesh.axis_names:
    raise ValueError(
        f'config.mesh.fsdp={mesh.shape["fsdp"]} gathers weights block by '
        f'block, and config.backbone.blocks={blocks!r} keeps them in one: '
        "use 'loop' with it")
  if blocks in ('host', 'disk') and jax.process_count() > 1:
    raise ValueError(
        f'config.backbone.blocks={blocks!r} streams to the devices of one '
        f"host, and there are {jax.process_count()}: use 'loop' or 'scan'")
