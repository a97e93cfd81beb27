"""A run from its config to its result: build, restore, step, evaluate, save."""

import functools
import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from lst import (
    checkpoint,
    data,
    evaluate,
    losses,
    metrics,
    optimizer,
    report,
    sharding,
    step,
    workdir,
)
from lst import config as config_lib
from lst import method as methods
from lst.backbones import backbone as backbones
from lst.screen import Screen
from lst.window import NonFiniteError, Window
from lst.writers import Writer

__all__ = ['Built', 'NonFiniteError', 'build', 'evaluation_steps', 'run']


class Built(NamedTuple):
  """All parts of a run, each made of its part of the config."""

  mesh: jax.sharding.Mesh
  dataset: data.Data
  backbone: backbones.Backbone
  method: methods.Method
  frozen: Any
  state: step.TrainState
  train_step: Any
  eval_step: Any
  steps: int
  steps_per_epoch: float


def run(config, folder: epath.PathLike) -> dict[str, Any]:
  """Trains, evaluates and leaves everything in `folder`.

  The same call again goes on where an earlier one stopped, however it
  stopped, to the same parameters and metrics; a finished run is only shown.

  Args:
    config: `lst.config.default()`, changed or not.
    folder: of this run. It will hold config.json, metrics.jsonl, tensorboard/,
      checkpoints/, side.safetensors and result.json.

  Returns:
    The content of result.json.

  Raises:
    lst.workdir.WorkdirError: the folder is in use or holds another run.
    lst.data.DataError: the data is missing or malformed.
    NonFiniteError: the loss is no number any more.
    ValueError, OSError: a field of the config, or a file, is wrong.
  """
  config_lib.check(config)
  folder = epath.Path(folder)
  with workdir.locked(folder):
    workdir.check_config(folder, config)
    done = report.finished(folder)
    if done is not None:
      report.show_result(done, folder)
      return done
    return _run(config, folder)


def build(config) -> Built:
  """Makes every part that `config` names; compiles no step yet."""
  mesh = sharding.make_mesh()
  _check(config.train, mesh)
  dataset = data.build(config.data)
  backbone = backbones.build(config.backbone)
  method = methods.build(config, backbone, len(dataset.classes))
  steps_per_epoch = dataset.train.size / config.train.batch_size
  steps = math.ceil(config.train.epochs * steps_per_epoch)
  update = optimizer.build(config.optimizer, steps, steps_per_epoch)
  loss = functools.partial(
      losses.cross_entropy, smoothing=config.optimizer.label_smoothing)

  everywhere = sharding.replicated(mesh)
  frozen = jax.device_put(backbone.frozen, everywhere)
  init = functools.partial(
      _init, method=method, optimizer=update, image_size=backbone.image_size)
  state = jax.jit(init, out_shardings=everywhere)(
      jax.random.key(config.seed), frozen)
  train_step = jax.jit(
      functools.partial(
          step.train_step, predict=method.predict, loss=loss,
          optimizer=update),
      out_shardings=everywhere)
  eval_step = jax.jit(
      functools.partial(
          step.eval_step, predict=method.predict, loss=losses.cross_entropy),
      out_shardings=everywhere)
  return Built(
      mesh, dataset, backbone._replace(frozen=None), method, frozen, state,
      train_step, eval_step, steps, steps_per_epoch)


def _check(config, mesh) -> None:
  for field in ('batch_size', 'eval_batch_size', 'log_steps'):
    if config[field] < 1:
      raise ValueError(
          f'config.train.{field}={config[field]} has to be at least 1')
  for field in ('epochs', 'eval_epochs'):
    if not 0 < config[field] < math.inf:
      raise ValueError(
          f'config.train.{field}={config[field]} has to be above 0')
  if config.checkpoint_steps < 0:
    raise ValueError(
        f'config.train.checkpoint_steps={config.checkpoint_steps} has to be 0 '
        '(only with validation) or more')
  for field in ('batch_size', 'eval_batch_size'):
    sharding.check_batch(config[field], mesh, f'config.train.{field}')


def _init(key, frozen, method, optimizer, image_size) -> step.TrainState:
  image = jax.ShapeDtypeStruct((1, *image_size, 3), np.uint8)
  params = method.init(key, frozen, image)
  return step.TrainState(np.int32(0), params, optimizer.init(params))


def _run(config, folder: epath.Path) -> dict[str, Any]:
  started = time.monotonic()
  built = build(config)
  mesh, dataset, frozen, state = (
      built.mesh, built.dataset, built.frozen, built.state)
  reading = dict(
      image_size=built.backbone.image_size, resize=config.data.resize,
      process_index=jax.process_index(), process_count=jax.process_count(),
      workers=config.data.workers, prefetch=config.data.prefetch)
  position = functools.partial(
      data.position, dataset.train, batch_size=config.train.batch_size,
      seed=config.seed)

  checkpoints = checkpoint.manager(folder)
  first = checkpoints.latest_step() or 0
  if first:
    saved = checkpoint.restore(checkpoints, first, state)
    data.check_position(saved.position, position(step=first))
    state, started = saved.state, started - saved.seconds

  batches = data.train_batches(
      dataset.train, batch_size=config.train.batch_size, seed=config.seed,
      start_step=first, cache_bytes=config.data.cache_bytes, **reading)
  val, test = (
      split and data.cached(
          split, image_size=built.backbone.image_size,
          resize=config.data.resize, max_bytes=config.data.cache_bytes)
      for split in (dataset.val, dataset.test))
  score = functools.partial(
      evaluate.evaluate, built.eval_step, frozen=frozen, mesh=mesh,
      batch_size=config.train.eval_batch_size, **reading)
  train_step, facts = report.compile_and_show(
      config, built, folder, first)

  workdir.claim(folder, config)
  writer = Writer(folder, first)
  screen = Screen(built.steps, first, config.train.batch_size)
  window = Window(config, built, folder, writer, screen)
  stops = evaluation_steps(config, built.steps, built.steps_per_epoch)
  try:
    for now in range(first + 1, built.steps + 1):
      batch = sharding.put_batch(next(batches), mesh)
      state, sums = train_step(state, frozen, batch)
      evaluates = now in stops
      saves = evaluates or (
          config.train.checkpoint_steps
          and now % config.train.checkpoint_steps == 0)
      # Reads the metrics of the step before: the device is busy meanwhile.
      window.push(now, sums, saves or now % config.train.log_steps == 0)
      if saves:
        window.settle()
      screen.step(now)
      if saves:
        window.check_params(now, state.params)
        accuracy = None
        if evaluates and val:
          accuracy = window.validated(now, score(state.params, split=val))
        checkpoint.save(
            checkpoints, state, position(step=now),
            time.monotonic() - started, accuracy)
        screen.go_on()
  finally:
    screen.close()
    batches.close()
    writer.close()
    checkpoints.wait_until_finished()

  chosen = checkpoint.best_step(checkpoints) if val else None
  params = state.params
  val_accuracy = None
  if chosen is not None:
    params = checkpoint.restore(checkpoints, chosen, state).state.params
    val_accuracy = score(params, split=val).means()['accuracy']
  tested = score(params, split=test) if test else metrics.Sums()
  checkpoints.close()
  return report.finish(
      config, built, folder, params, tested, facts, val_accuracy=val_accuracy,
      tested_step=chosen or built.steps,
      images_per_second=screen.rate,
      seconds=time.monotonic() - started)


def evaluation_steps(
    config, steps: int, steps_per_epoch: float
) -> frozenset[int]:
  """The steps after which to validate: every `eval_epochs`, and the last."""
  every = config.train.eval_epochs
  count = math.floor(steps / (every * steps_per_epoch))
  inner = (math.ceil(k * every * steps_per_epoch) for k in range(1, count + 1))
  return frozenset([*(s for s in inner if s < steps), steps])
