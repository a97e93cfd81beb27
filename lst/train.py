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
from lst import method as methods
from lst.backbones import backbone as backbones
from lst.screen import Screen
from lst.writers import Writer


class NonFiniteError(Exception):
  """The loss or a parameter is not a finite number any more."""


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
  folder = epath.Path(folder)
  with workdir.locked(folder):
    workdir.check_config(folder, config)
    done = report.finished(folder)
    if done is not None:
      report.show_result(done, folder)
      return done
    return _run(config, folder)


def build(config) -> Built:
  """Makes every part that `config` names, and compiles nothing yet."""
  mesh = sharding.make_mesh()
  sharding.check_batch(
      config.train.batch_size, mesh, 'config.train.batch_size')
  sharding.check_batch(
      config.train.eval_batch_size, mesh, 'config.train.eval_batch_size')
  dataset = data.build(config.data)
  backbone = backbones.build(config.backbone)
  method = methods.build(config, backbone, len(dataset.classes))
  steps_per_epoch = dataset.train.size / config.train.batch_size
  steps = math.ceil(config.train.epochs * steps_per_epoch)
  if steps < 1:
    raise ValueError(f'config.train.epochs={config.train.epochs} is no step')
  update = optimizer.build(config.optimizer, steps, steps_per_epoch)
  loss = functools.partial(
      losses.cross_entropy, smoothing=config.optimizer.label_smoothing)

  everywhere = sharding.replicated(mesh)
  frozen = jax.device_put(backbone.frozen, everywhere)
  key = jax.random.key(config.seed)

  def init(key, frozen, image):
    params = method.init(key, frozen, image)
    return step.TrainState(np.int32(0), params, update.init(params))

  image = jax.ShapeDtypeStruct((1, *backbone.image_size, 3), np.uint8)
  state = jax.jit(
      functools.partial(init, image=image), out_shardings=everywhere
  )(key, frozen)
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
      config, built, folder, first, next(batches))
  batches.close()
  batches = data.train_batches(
      dataset.train, batch_size=config.train.batch_size, seed=config.seed,
      start_step=first, cache_bytes=config.data.cache_bytes, **reading)

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
      screen.step(now)
      if saves:
        window.settle()
        window.check_params(now, state.params)
        accuracy = None
        if evaluates and val:
          accuracy = window.validated(now, score(state.params, split=val))
        checkpoint.save(
            checkpoints, state, position(step=now),
            time.monotonic() - started, accuracy)
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
      images_per_second=screen.rate if first < built.steps else None,
      seconds=time.monotonic() - started)


def evaluation_steps(
    config, steps: int, steps_per_epoch: float
) -> frozenset[int]:
  """The steps after which to validate: every `eval_epochs`, and the last."""
  every = config.train.eval_epochs
  if not every > 0:
    raise ValueError(f'config.train.eval_epochs={every} has to be above 0')
  count = math.floor(steps / (every * steps_per_epoch))
  inner = (math.ceil(k * every * steps_per_epoch) for k in range(1, count + 1))
  return frozenset([*(s for s in inner if s < steps), steps])


class Window:
  """Sums the metrics of some steps, one step late, and writes their means."""

  def __init__(self, config, built: Built, folder, writer, screen):
    self._config, self._built, self._folder = config, built, folder
    self._writer, self._screen = writer, screen
    self._total, self._pending = metrics.Sums(), None

  def push(self, now: int, sums: metrics.Sums, ends: bool) -> None:
    """Takes the sums of step `now`; reads those of the step before."""
    before, self._pending = self._pending, (now, sums, ends)
    self._read(before)

  def settle(self) -> None:
    """Reads what is still out."""
    before, self._pending = self._pending, None
    self._read(before)

  def _read(self, pending) -> None:
    if pending is None:
      return
    now, sums, ends = pending
    sums = sums.on_host()
    if not np.isfinite(sums.loss):
      self._stop(now, f'the loss is {float(sums.loss / sums.count)}')
    self._total += sums
    if ends:
      means = {f'train_{k}': v for k, v in self._total.means().items()}
      self._total = metrics.Sums()
      self._write(now, means)

  def validated(self, now: int, sums: metrics.Sums) -> float:
    """Writes validation metrics and returns the accuracy."""
    means = {f'val_{k}': v for k, v in sums.means().items()}
    self._write(now, means)
    return means['val_accuracy']

  def check_params(self, now: int, params) -> None:
    """Raises NonFiniteError before bad parameters reach a checkpoint."""
    for path, leaf in jax.tree.leaves_with_path(jax.device_get(params)):
      if not np.isfinite(leaf).all():
        self._stop(now, f'{jax.tree_util.keystr(path)} is not finite')

  def _write(self, now: int, values: dict[str, float]) -> None:
    epoch = now / self._built.steps_per_epoch
    self._writer.write(now, {'epoch': round(epoch, 4), **values})
    self._screen.metrics(epoch, values)

  def _stop(self, now: int, what: str) -> None:
    raise NonFiniteError(
        f'{what} at step {now} (epoch {now / self._built.steps_per_epoch:.1f})'
        f': lower config.optimizer.lr (now {self._config.optimizer.lr}), '
        'lengthen config.optimizer.warmup_epochs or set '
        'config.optimizer.clip_norm=1. The last good checkpoint is kept in '
        f'{self._folder}/checkpoints; start again in another --workdir.')
