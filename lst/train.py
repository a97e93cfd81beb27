"""A run from its config to its result: build, restore, step, evaluate, save."""

import time
from typing import Any, NamedTuple

from etils import epath

from lst import (
    checkpoint,
    evaluate,
    hosts,
    inputs,
    metrics,
    opening,
    report,
    sharding,
    workdir,
)
from lst.build import build
from lst.plan import fitting
from lst.screen import Screen
from lst.stops import evaluation_steps
from lst.watch import Meter, Trace
from lst.window import NonFiniteError, Window
from lst.writers import Writer

__all__ = ['NonFiniteError', 'build', 'evaluation_steps', 'run']


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
    lst.hosts.Preempted: SIGTERM came; a checkpoint of this step is left.
    ValueError, OSError: a field of the config, or a file, is wrong.
  """
  return opening.once(config, folder, _run, report.show_result)


def _run(config, folder: epath.Path) -> dict[str, Any]:
  started = time.monotonic()
  trace, asked = Trace(config.profile.steps, folder), config
  config, memory = fitting.fit(asked)
  built = build(config)
  built, batches_of = inputs.open_(config, built)
  mesh, frozen, state = built.mesh, built.frozen, built.state
  position = opening.positions(config, built.dataset.train)

  checkpoints = checkpoint.manager(folder)
  state, first, seconds = opening.resumed(checkpoints, state, position)
  started -= seconds

  batches, compiling = batches_of.train(first), time.monotonic()
  train_step, facts = report.compile_and_show(
      config, built, batches_of, folder, first, memory)

  workdir.claim(folder, asked)
  writer = Writer(folder, first)
  screen = Screen(built.steps, first, config.train.batch_size)
  meter = Meter(
      built.steps - first, config.train.batch_size,
      time.monotonic() - compiling)
  window = Window(config, built, folder, writer, screen)
  stops = evaluation_steps(config, built.steps, built.steps_per_epoch)
  notice = hosts.Notice()
  try:
    for now in range(first + 1, built.steps + 1):
      trace.at(now, state)
      with meter.part('input'):
        batch = sharding.put_batch(next(batches), mesh)
      state, sums = train_step(state, frozen, batches_of.ready(batch))
      evaluates, leaves = now in stops, notice.at(now) and now < built.steps
      logs = now % config.train.log_steps == 0
      saves = evaluates or leaves or (
          config.train.checkpoint_steps
          and now % config.train.checkpoint_steps == 0)
      # Reads the metrics of the step before: the device is busy meanwhile.
      with meter.part('device'):
        window.push(now, sums, saves or logs)
        if saves:
          window.settle()
      screen.step(now)
      meter.step()
      if logs:
        window.observed(now, *meter.take())
      if saves:
        window.check_params(now, state.params)
        accuracy = None
        if evaluates and batches_of.val:
          accuracy = window.validated(
              now, evaluate.evaluate(state.params, batches_of.val))
        checkpoint.save(
            checkpoints, state, position(step=now),
            time.monotonic() - started, accuracy)
        screen.go_on()
        meter.go_on()
      if leaves:
        raise hosts.Preempted(f'SIGTERM at step {now}, which is saved')
  finally:
    notice.close()
    trace.close()
    screen.close()
    batches.close()
    writer.close()
    # With a process lost, that would never be.
    if not hosts.lost():
      checkpoints.wait_until_finished()

  ending = _scored(checkpoints, batches_of, state)
  checkpoints.close()
  return report.finish(
      config, built, folder, ending.params, ending.tested, facts,
      val_accuracy=ending.val_accuracy,
      tested_step=ending.step or built.steps,
      images_per_second=screen.rate, speed=meter.total(),
      seconds=time.monotonic() - started)


class _Ending(NamedTuple):
  """What a run is left with.

  Attributes:
    params: the best by validation, or the last.
    val_accuracy: of these; None without images for validation.
    step: of these, or None for the last.
    tested: sums over the images of the test, zeros without any.
  """

  params: Any
  val_accuracy: float | None
  step: int | None
  tested: metrics.Sums


def _scored(checkpoints, batches_of, state) -> _Ending:
  """Chooses the parameters by validation, and scores them on the test."""
  step = checkpoint.best_step(checkpoints) if batches_of.val else None
  params, val_accuracy = state.params, None
  if step is not None:
    params = checkpoint.restore(checkpoints, step, state).state.params
    val_accuracy = evaluate.evaluate(
        params, batches_of.val).means()['accuracy']
  tested = metrics.Sums()
  if batches_of.test:
    tested = evaluate.evaluate(params, batches_of.test)
  return _Ending(params, val_accuracy, step, tested)
