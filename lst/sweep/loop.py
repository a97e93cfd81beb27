"""A sweep from its config to its table: many runs trained as one."""

import time
from typing import Any

import jax
import numpy as np
from etils import epath

from lst import (
    build,
    checkpoint,
    evaluate,
    hosts,
    metrics,
    opening,
    report,
    sharding,
    window,
    workdir,
)
from lst import config as config_lib
from lst.screen import Screen
from lst.sweep import halving, points, stacked, table
from lst.sweep.parts import Programs, make, start
from lst.watch import Trace
from lst.writers import Writer


def run(config, folder: epath.PathLike) -> dict[str, Any]:
  """Trains every point of `config.sweep` together and keeps the best.

  Every run ends as it would alone, to rounding. The winner, by validation, is
  tested and saved in `folder`/best as an ordinary run. The same call again
  goes on where an earlier one stopped.

  Returns:
    The content of `folder`/result.json: the winner's, and 'sweep', the table.

  Raises:
    As `train.run`, and ValueError without a validation split.
  """
  return opening.once(config, folder, _run, _show)


def _run(config, folder: epath.Path) -> dict[str, Any]:
  sweep = _Sweep(config, folder)
  sweep.train()
  return sweep.finish()


def _show(done: dict[str, Any], folder: epath.Path) -> None:
  table.show(done['sweep'], folder)


class _Sweep:
  """The state of the loop and what it writes to."""

  def __init__(self, config, folder: epath.Path):
    self._began = time.monotonic()
    self._config, self._folder = config, folder
    self._trace = Trace(config.profile.steps, folder)
    self._parts = make(config)
    self._checkpoints = checkpoint.manager(folder)
    self._position = opening.positions(config, self._parts.built.dataset.train)
    self._runs, self._first = self._resume()
    self._programs = Programs(config, self._parts, self._runs)
    table.banner(
        config, self._parts, folder, self._first, self._programs,
        self._runs)
    workdir.claim(folder, config)

  def _resume(self) -> tuple[stacked.Runs, int]:
    """The state to start from, and its step."""
    runs = start(self._parts)

    def left(step):
      count = min((n for s, n in self._parts.rungs.items() if s <= step),
                  default=len(self._parts.points))
      return stacked.pick(runs, range(count))

    found = opening.resumed(self._checkpoints, runs, self._position, left)
    self._began -= found.seconds
    return found.state, found.step

  def train(self) -> None:
    """From the first step to the last."""
    built, before = self._parts.built, None
    batches, notice = self._parts.batches_of.train(self._first), hosts.Notice()
    self._writer = Writer(self._folder, self._first)
    self._screen = Screen(
        built.steps, self._first, self._config.train.batch_size)
    try:
      for now in range(self._first + 1, built.steps + 1):
        self._trace.at(now, self._runs)
        batch = sharding.put_batch(next(batches), built.mesh)
        self._runs, sums = self._programs.step(
            self._runs, self._parts.batches_of.ready(batch))
        # The host is never more than a step ahead of the device.
        jax.block_until_ready(before)
        before = sums.loss
        self._screen.step(now)
        leaves = notice.at(now) and now < built.steps
        if now in self._parts.stops:
          self._stop(now, sums)
        elif leaves or self._due(now):
          self._save(now)
          self._screen.go_on()
        if leaves:
          raise hosts.Preempted(f'SIGTERM at step {now}, which is saved')
    finally:
      notice.close()
      self._trace.close()
      self._screen.close()
      batches.close()
      self._writer.close()
      # With a process lost, that would never be.
      if not hosts.lost():
        self._checkpoints.wait_until_finished()
    self._checkpoints.close()

  def _stop(self, now: int, trained: metrics.Sums) -> None:
    """Validates all runs, drops some at a rung, saves the others."""
    parts = self._parts
    sums = evaluate.scored(
        self._programs.score, self._runs.params, parts.batches_of.val)
    # A run whose loss is no number any more is the worst; others go on.
    accuracy = np.where(
        np.isfinite(sums.loss), sums.correct / sums.count, -1.0)
    self._write(now, trained.on_host(), accuracy)
    self._runs = stacked.record(self._runs, np.float32(accuracy), now)
    if now in parts.rungs:
      self._runs = stacked.pick(self._runs, halving.best(
          jax.device_get(self._runs.best_accuracy), parts.rungs[now]))
    self._save(now)
    self._screen.go_on()

  def _due(self, now: int) -> bool:
    """Whether `config.train.checkpoint_steps` asks for a checkpoint."""
    every = self._config.train.checkpoint_steps
    return bool(every) and now % every == 0

  def _save(self, now: int) -> None:
    checkpoint.save(
        self._checkpoints, self._runs, self._position(step=now),
        time.monotonic() - self._began,
        float(np.max(jax.device_get(self._runs.best_accuracy))))

  def _write(self, now: int, trained: metrics.Sums, accuracy) -> None:
    epoch = now / self._parts.built.steps_per_epoch
    names = [self._parts.names[k] for k in jax.device_get(self._runs.index)]
    loss = trained.loss / trained.count
    values = {'epoch': round(epoch, 4)}
    for name, x, a in zip(names, loss, accuracy, strict=True):
      # JSON has no name for what is not a number.
      values[f'train_loss/{name}'] = float(x) if np.isfinite(x) else None
      values[f'val_accuracy/{name}'] = float(a)
    self._writer.write(now, values)
    self._screen.metrics(epoch, {
        'train_loss': float(np.nanmin(loss)) if np.isfinite(loss).any()
        else float('nan'), 'val_accuracy': float(accuracy.max())})

  def finish(self) -> dict[str, Any]:
    """Tests and saves the winner; writes and shows the table.

    Raises:
      NonFiniteError: there is none.
    """
    parts, runs = self._parts, jax.device_get(self._runs)
    rows = hosts.agreed(lambda: table.rows(
        self._config, parts, self._folder, runs))
    row = _winner(runs)
    point = parts.points[int(runs.index[row])]
    built = build.rebuilt(parts.built, point)
    params = sharding.place(
        stacked.cut(runs.best_params, row, built.state.params),
        sharding.replicated(built.mesh))
    tested = metrics.Sums()
    test = parts.batches_of.test
    if test:
      reader = build.rebuilt(test.reader, point)
      tested = evaluate.evaluate(params, test._replace(reader=reader))
    best = self._folder / 'best'
    best.mkdir(exist_ok=True)
    workdir.claim(best, point)
    if hosts.first():
      table.write_metrics(
          self._folder, best, points.name(point, self._config))
    result = report.finish(
        point, built, best, params, tested,
        {'flops_step_over_forward': None},
        val_accuracy=float(runs.best_accuracy[row]),
        tested_step=int(runs.best_step[row]),
        images_per_second=self._screen.rate,
        seconds=time.monotonic() - self._began)
    result = {**result, 'config': config_lib.flat(self._config), 'sweep': rows}
    workdir.write_json(self._folder / workdir.RESULT, result)
    if hosts.first():
      table.write(self._config, rows, self._folder)
    table.show(rows, self._folder)
    return result


def _winner(runs: stacked.Runs) -> int:
  """The row of the best run; NonFiniteError, if all have diverged."""
  row = int(np.argmax(runs.best_accuracy))
  if runs.best_accuracy[row] < 0:
    raise window.NonFiniteError(
        'the loss of every run is no number any more at its first validation: '
        'lower config.sweep.lr, or set config.optimizer.clip_norm=1.0')
  return row
