"""A run of several tasks, from its config to a result for each of them."""

import json
import time
from typing import Any

import jax
import numpy as np
from etils import epath

from lst import (
    checkpoint,
    data,
    hosts,
    metrics,
    opening,
    report,
    sharding,
    workdir,
)
from lst import config as config_lib
from lst.screen import Screen
from lst.sweep import stacked
from lst.tasks import parts, table
from lst.tasks.programs import Programs
from lst.watch import Trace
from lst.window import NonFiniteError, Window
from lst.writers import Writer


def run(config, folder: epath.PathLike) -> dict[str, Any]:
  """Trains every task of `config.tasks` in one pass of the backbone.

  A step takes `config.train.batch_size` rows of each task. Every task ends as
  its run alone does, to rounding, in `folder`/<task> as an ordinary run: its
  own order of data, schedule, metrics and best parameters. The same call again
  goes on where an earlier one stopped.

  Returns:
    The content of `folder`/result.json: 'tasks', a row a task, and their means.

  Raises:
    As `train.run`, and ValueError if the config asks for what cannot be
    together.
  """
  return opening.once(config, folder, _run, table.show)


def _run(config, folder: epath.Path) -> dict[str, Any]:
  tasks = _Tasks(config, folder)
  tasks.train()
  return tasks.finish()


class _Tasks:
  """The state of the loop and what it writes to."""

  def __init__(self, config, folder: epath.Path):
    self._began = time.monotonic()
    self._config, self._folder = config, folder
    self._trace = Trace(config.profile.steps, folder)
    self._tasks = parts.make(config)
    self._steps = max(t.built.steps for t in self._tasks)
    self._stages = parts.stages([t.built.steps for t in self._tasks])
    self._mesh = self._tasks[0].built.mesh
    self._checkpoints = checkpoint.manager(folder)
    found = opening.resumed(
        self._checkpoints, parts.start(self._tasks), self._position)
    self._runs, self._first = found.state, found.step
    self._began -= found.seconds
    self._programs = Programs(config, self._tasks)
    self._facts = self._programs.compile(
        next(iter(self._stages.values())), self._runs)
    table.banner(config, self._tasks, folder, self._first, self._facts)
    workdir.claim(folder, config)
    self._screen = Screen(
        self._steps, self._first, config.train.batch_size)
    self._batches, self._writers, self._windows = {}, [], []
    # The step that the run is told to leave at.
    self._last = None

  def _position(self, step: int) -> data.Position:
    """Where all tasks are in their data, as one position."""
    splits = [t.built.dataset.train for t in self._tasks]
    names = [
        f'{t.name}: {split.name} of {split.size}, seed '
        f'{config_lib.order_seed(t.config)}'
        for t, split in zip(self._tasks, splits, strict=True)]
    return data.Position(
        step, self._config.seed, self._config.train.batch_size,
        sum(split.size for split in splits), '; '.join(names))

  def train(self) -> None:
    """From the first step to the last."""
    self._notice = hosts.Notice()
    try:
      self._open()
      now = self._first
      for last, members in self._stages.items():
        if last > now:
          self._stage(members, now, last)
          now = last
    finally:
      self._notice.close()
      self._trace.close()
      self._screen.close()
      for open_ in (*self._batches.values(), *self._writers):
        open_.close()
      # With a process lost, that would never be.
      if not hosts.lost():
        self._checkpoints.wait_until_finished()
    self._checkpoints.close()

  def _open(self) -> None:
    """The files of every task."""
    shown = table.Shown(self._screen)
    for task in self._tasks:
      own = self._folder / task.name
      own.mkdir(exist_ok=True)
      workdir.claim(own, task.config)
      self._writers.append(Writer(own, self._first))
      self._windows.append(Window(
          task.config, task.built, self._folder, self._writers[-1],
          shown.of(task.name)))

  def _stage(self, members, first: int, last: int) -> None:
    """The steps that the same tasks take."""
    for k in set(self._batches) - set(members):
      self._batches.pop(k).close()
    for k in set(members) - set(self._batches):
      self._batches[k] = self._tasks[k].batches_of.train(first)
    order, pending = self._programs.order(members), None
    for now in range(first + 1, last + 1):
      self._trace.at(now, self._runs)
      batch = self._programs.put(
          members, {k: next(self._batches[k]) for k in members})
      self._runs, sums = self._programs.step(members, self._runs, batch)
      # Reads the metrics of the step before: the device is busy meanwhile.
      self._read(pending)
      pending = now, order, sums
      self._screen.step(now)
      if self._notice.at(now) and now < self._steps:
        self._last = now
      due = [k for k in order if now in self._tasks[k].stops]
      if due or self._saves(now):
        pending = self._read(pending)
        self._stop(now, due, order)
      if now == self._last:
        raise hosts.Preempted(f'SIGTERM at step {now}, which is saved')
    self._read(pending)

  def _saves(self, now: int) -> bool:
    """Whether a checkpoint is due: where the longest task validates, at least.
    """
    longest = max(self._tasks, key=lambda task: task.built.steps)
    every = self._config.train.checkpoint_steps
    return now in longest.stops or now == self._last or (
        bool(every) and now % every == 0)

  def _read(self, pending) -> None:
    """Gives the sums of a step to the windows of its tasks."""
    if pending is None:
      return
    now, order, sums = pending
    sums = jax.device_get(sums)
    for row, k in enumerate(order):
      if now <= self._tasks[k].built.steps:
        ends = (
            now in self._tasks[k].stops or self._saves(now)
            or now % self._config.train.log_steps == 0)
        own = metrics.Sums(*(x[row] for x in sums))
        self._told(k, self._windows[k].push, now, own, ends)

  def _told(self, k: int, check, *args) -> None:
    """Calls a check of task `k`, whose name an error is to have."""
    try:
      check(*args)
    except NonFiniteError as error:
      raise NonFiniteError(f'task {self._tasks[k].name}: {error}') from error

  def _stop(self, now: int, due: list[int], order: list[int]) -> None:
    """Validates the tasks that are due; saves all if that is."""
    # -2 is never the best, which starts from -1.
    accuracy = np.full(len(self._tasks), -2, np.float32)
    for k in due if not self._saves(now) else order:
      if now <= self._tasks[k].built.steps:
        self._told(k, self._windows[k].settle)
        self._told(k, self._windows[k].check_params, now, jax.tree.map(
            lambda x, k=k: x[k], self._runs.params))
    for k in due:
      val = self._tasks[k].batches_of.val
      if val:
        accuracy[k] = self._windows[k].validated(
            now, self._programs.evaluate(self._runs.params, k, val))
    self._runs = sharding.place(
        stacked.record(self._runs, accuracy, now),
        sharding.replicated(self._mesh))
    if self._saves(now):
      checkpoint.save(
          self._checkpoints, self._runs, self._position(step=now),
          time.monotonic() - self._began, None)
    self._screen.go_on()

  def finish(self) -> dict[str, Any]:
    """Tests and saves every task; writes and shows the table."""
    rows = {}
    for k, task in enumerate(self._tasks):
      has_val = task.batches_of.val is not None
      stack = self._runs.best_params if has_val else self._runs.params
      tested = metrics.Sums()
      if task.batches_of.test:
        tested = self._programs.evaluate(stack, k, task.batches_of.test)
      result = report.leave(
          task.config, task.built, self._folder / task.name,
          stacked.cut(stack, k, task.built.state.params), tested, self._facts,
          val_accuracy=(
              float(self._runs.best_accuracy[k]) if has_val else None),
          tested_step=(
              int(self._runs.best_step[k]) if has_val else task.built.steps),
          images_per_second=self._screen.rate,
          seconds=time.monotonic() - self._began)
      rows[task.name] = table.row(result, len(task.built.dataset.classes))
    result = json.loads(json.dumps(
        table.result(self._config, rows, result)))
    workdir.write_json(self._folder / workdir.RESULT, result)
    table.show(result, self._folder)
    return result
