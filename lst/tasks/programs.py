"""The compiled programs of a run of several tasks."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lst import (
    cache,
    inputs,
    losses,
    method,
    metrics,
    optimizer,
    report,
    sharding,
    step,
)
from lst.evaluate import scored
from lst.plan import flops
from lst.sweep import stacked
from lst.tasks import mixed, parts


class Programs:
  """The compiled steps of a run of several tasks."""

  def __init__(self, config, tasks: list[parts.Task]):
    self._config, self._tasks, self._compiled = config, tasks, {}
    self._built = tasks[0].built
    self._mesh = self._built.mesh
    everywhere = sharding.replicated(self._mesh)
    self._plan = sharding.place(parts.plan(tasks), everywhere)
    most = self._plan.classes.shape[1]
    self._method = method.build(config, self._built.backbone, most)
    self._one = functools.partial(
        mixed.one_step, readout=self._method.readout,
        smoothing=config.optimizer.label_smoothing,
        optimizer=functools.partial(optimizer.at_rate, config.optimizer))
    # Images are made features of by a program of their own.
    self._score = jax.jit(
        functools.partial(
            step.eval_step, predict=_of_classes(
                method.on_stored(self._method, cache.expand)),
            loss=losses.cross_entropy), out_shardings=everywhere)

  def groups(self, members) -> tuple[list[int], list[int]]:
    """The members that come as images, and those that come from a cache."""
    images = [k for k in members if self._tasks[k].batches_of.online]
    return images, [k for k in members if k not in images]

  def order(self, members) -> list[int]:
    """The members in the order of what a step returns."""
    images, kept = self.groups(members)
    return images + kept

  def put(self, members, batches: dict):
    """The next batch of each member as two mixed ones, on the devices.

    The backbone runs over all images at once.
    """
    shards, out = self._mesh.size // jax.process_count(), []
    for group in self.groups(members):
      batch = mixed.mix([batches[k] for k in group], shards)
      if batch is not None:
        ready = self._tasks[group[0]].batches_of.ready
        batch = ready(sharding.put_batch(batch, self._mesh))
      out.append(batch)
    return tuple(out)

  def step(self, members, runs: stacked.Runs, batches):
    """(all tasks, sums of the members in `order`) after one more batch.

    It uses the given runs up.
    """
    if members not in self._compiled:
      self.compile(members, runs)
    compiled, codebooks = self._compiled[members]
    return compiled(runs, codebooks, batches, self._plan)

  def compile(self, members, runs: stacked.Runs) -> dict[str, Any]:
    """Compiles the step of the members; returns the facts about it."""
    groups = self.groups(members)
    codebooks, shapes = zip(*map(self._given, groups), strict=True)
    program = jax.jit(
        functools.partial(self._step, groups=groups),
        out_shardings=sharding.replicated(self._mesh), donate_argnums=0)
    given = runs, codebooks, shapes, self._plan
    self._compiled[members] = program.lower(*given).compile(), codebooks
    forward = report.forward_flops(self._config, self._built)
    counted = flops.count(program, *given) / self._mesh.size
    return {
        'flops_step_over_forward': (
            len(groups[0]) + counted / forward) / len(members),
        'trained_with': [self._tasks[k].name for k in members]}

  def _given(self, group: list[int]) -> tuple[Any, Any]:
    """What a step is given of a group: (codebooks, shapes of its batch)."""
    if not group:
      return None, None
    own = [self._tasks[k].built.frozen for k in group]
    codebooks = jax.tree.map(lambda *xs: jnp.stack(xs), *own)
    return (
        sharding.place(codebooks, sharding.replicated(self._mesh)),
        report.batch_shapes(
            self._tasks[group[0]].batches_of.shapes,
            len(group) * self._config.train.batch_size, self._mesh))

  def _step(self, runs, codebooks, batches, plan, *, groups):
    """One step of the tasks of both groups; pure."""
    size, features, labels, masks = self._mesh.size, [], [], []
    for group, batch, codebook in zip(groups, batches, codebooks, strict=True):
      if not group:
        continue
      stored = mixed.blocks(batch.inputs, len(group), size)
      features.append(jax.vmap(cache.expand)(stored, codebook))
      labels.append(mixed.blocks(batch.label, len(group), size))
      masks.append(mixed.blocks(batch.mask, len(group), size))
    rows = np.array(groups[0] + groups[1])
    some, sums = mixed.train_step(
        stacked.pick(runs, rows), mixed.join(features), jnp.concatenate(labels),
        jnp.concatenate(masks), jax.tree.map(lambda x: x[rows], plan),
        one=self._one)
    runs = jax.tree.map(lambda x, new: x.at[rows].set(new), runs, some)
    return runs, sums

  def evaluate(self, params, k: int, of: inputs.Pass) -> metrics.Sums:
    """The sums of task `k` over a pass; `params` of all tasks."""
    own = jax.tree.map(lambda x: x[k], (params, self._plan.classes))
    return scored(self._score, own, of)


def _of_classes(predict):
  def predict_only(params, frozen, batch_inputs):
    params, classes = params
    return mixed.only(classes, predict(params, frozen, batch_inputs))

  return predict_only
