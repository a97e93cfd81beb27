"""The compiled programs of a run of several tasks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lst import (
    build,
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
from lst.sweep import stacked
from lst.tasks import mixed, parts


def cached(of: build.Built) -> bool:
  """Whether its batches come from a cache, not as images."""
  return of.predict is not of.method.predict


class Programs:
  """The compiled steps of a run of several tasks.

  Attributes:
    facts: what the results say of them.
  """

  def __init__(self, config, tasks: list[parts.Task]):
    self._config, self._tasks, self._compiled = config, tasks, {}
    self._built = tasks[0].built
    self._mesh, self._weights = self._built.mesh, self._built.weights
    everywhere = sharding.replicated(self._mesh)
    self._plan = jax.device_put(parts.plan(tasks), everywhere)
    most = self._plan.classes.shape[1]
    self._method = method.build(config, self._built.backbone, most)
    self._one = functools.partial(
        mixed.one_step, readout=self._method.readout,
        smoothing=config.optimizer.label_smoothing,
        optimizer=functools.partial(optimizer.at_rate, config.optimizer))
    on_stored = method.on_stored(self._method, cache.expand)
    self._scores = {
        of_cache: jax.jit(functools.partial(
            step.eval_step, predict=_of_classes(predict),
            loss=losses.cross_entropy), out_shardings=everywhere)
        for of_cache, predict in (
            (False, self._method.predict), (True, on_stored))}

  def groups(self, members) -> tuple[list[int], list[int]]:
    """The members that come as images, and those that come from a cache."""
    kept = [k for k in members if cached(self._tasks[k].built)]
    return [k for k in members if k not in kept], kept

  def order(self, members) -> list[int]:
    """The members in the order of what a step returns."""
    images, kept = self.groups(members)
    return images + kept

  def put(self, members, batches: dict):
    """The next batch of each member as two mixed ones, on the devices."""
    shards = self._mesh.size // jax.process_count()
    return tuple(
        sharding.put_batch(mixed.mix([batches[k] for k in group], shards),
                           self._mesh)
        for group in self.groups(members))

  def step(self, members, runs: stacked.Runs, batches):
    """(all tasks, sums of the members in `order`) after one more batch."""
    compiled, codebooks = self._of(members, runs)
    return compiled(runs, self._weights, codebooks, batches, self._plan)

  def compile(self, members, runs: stacked.Runs) -> dict[str, float | None]:
    """Compiles the step of the members; returns the facts about it."""
    compiled, _ = self._of(members, runs)
    forward = report.forward_flops(self._config, self._built)
    flops = report.flops(compiled)
    return {
        'flops_step_over_forward': (
            flops / forward / len(members) if flops and forward else None),
        'trained_with': [self._tasks[k].name for k in members]}

  def _of(self, members, runs):
    if members not in self._compiled:
      groups = self.groups(members)
      codebooks = [self._tasks[k].built.frozen for k in groups[1]]
      if codebooks:
        codebooks = jax.device_put(
            jax.tree.map(lambda *xs: jnp.stack(xs), *codebooks),
            sharding.replicated(self._mesh))
      shapes = tuple(
          report.batch_shapes(
              self._tasks[group[0]].batches_of.shapes,
              len(group) * self._config.train.batch_size, self._mesh)
          if group else None for group in groups)
      compiled = jax.jit(
          functools.partial(self._step, groups=groups),
          out_shardings=sharding.replicated(self._mesh)).lower(
              runs, self._weights, codebooks, shapes, self._plan).compile()
      self._compiled[members] = compiled, codebooks
    return self._compiled[members]

  def _step(self, runs, weights, codebooks, batches, plan, *, groups):
    """One step of the tasks of both groups; pure."""
    size, features, labels, masks = self._mesh.size, [], [], []
    for group, batch, from_cache in zip(
        groups, batches, (False, True), strict=True):
      if not group:
        continue
      if from_cache:
        stored = mixed.blocks(batch.inputs, len(group), size)
        features.append(jax.vmap(cache.expand)(stored, codebooks))
      else:
        extract = mixed.extracted(self._method.extract, len(group), size)
        features.append(extract(weights, batch.inputs))
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
    return scored(self._scores[cached(of.reader)], own, of)


def _of_classes(predict):
  def predict_only(params, frozen, batch_inputs):
    params, classes = params
    return mixed.only(classes, predict(params, frozen, batch_inputs))

  return predict_only
