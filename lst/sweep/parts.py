"""What a sweep is made of, and its compiled programs."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import psutil

from lst import (
    build,
    hosts,
    inputs,
    losses,
    optimizer,
    report,
    sharding,
    step,
)
from lst.plan import fitting
from lst.stops import evaluation_steps
from lst.sweep import cuts, halving, points, stacked

# Of the free memory, what a step may take beside what is there already.
SHARE = 0.7


class Parts(NamedTuple):
  """What a sweep is made of, beside the parts of an ordinary run.

  Attributes:
    built: of a run as wide as the widest point.
    batches_of: the batches, one order for all runs.
    points: the config of each run.
    names: of the points, in tables and metrics.
    stops: steps that validate.
    rungs: {step: runs that go on}.
  """

  built: build.Built
  batches_of: inputs.Inputs
  points: list
  names: list[str]
  stops: frozenset[int]
  rungs: dict[int, int]


def make(config) -> Parts:
  """Everything but the state and the programs.

  Raises:
    ValueError: the config does not say what to choose by, or of what.
  """
  fitting.refuse(config, 'a sweep, which has config.sweep.chunk,')
  if config.method != 'side':
    raise ValueError(
        f'config.method={config.method!r}: a sweep shares the features of one '
        "frozen pass, which only config.method='side' leaves untouched")
  if not config.data.val:
    raise ValueError(
        'a sweep chooses by validation: set config.data.val, such as '
        "--config.data.train='train[:800]' --config.data.val='train[800:]'")
  own = [field for field in ('rank', 'alpha', 'skip') if config.sweep[field]]
  if own and config.side.name != 'losa':
    raise ValueError(
        f'config.sweep.{own[0]}: runs of several structures stack in one '
        f"program for LoSA alone, not for config.side.name='"
        f"{config.side.name}'; sweep it in runs of their own")
  sweep = points.points(config)
  widest = points.copy(sweep[0])
  widest.side.rank = max(p.side.rank for p in sweep)
  widest.side.skip = min(p.side.skip for p in sweep)
  built = build.build(widest)
  if built.dataset.frames and len({p.side.skip for p in sweep}) > 1:
    raise ValueError(
        'config.sweep.skip: of videos, taps that are skipped are not prepared, '
        'so runs that differ in it share none; sweep it in runs of their own')
  # What is cached is what the widest reads; all else is as it is asked for.
  reading = points.copy(config)
  reading.side.rank, reading.side.skip = widest.side.rank, widest.side.skip
  built, batches_of = inputs.open_(reading, built)
  stops = evaluation_steps(config, built.steps, built.steps_per_epoch)
  return Parts(
      built, batches_of, sweep, [points.name(p, config) for p in sweep], stops,
      halving.rungs(len(sweep), config.sweep.halving, built.steps, stops))


def start(parts: Parts) -> stacked.Runs:
  """All runs at step 0, each with the parameters it would have alone."""
  inits, params = {}, []
  for point in parts.points:
    # Points that differ in rates and seeds alone share one program.
    kind = point.side.rank, point.side.skip, point.side.alpha
    if kind not in inits:
      inits[kind] = build.initialiser(parts.built, point)
    params.append(inits[kind](jax.random.key(point.seed), parts.built.weights))
  return sharding.place(
      stacked.start(params, parts.built.optimizer),
      sharding.replicated(parts.built.mesh))


class Programs:
  """The compiled steps of a sweep.

  Attributes:
    chunk: runs trained at the same time; 0 = all.
    cuts: a batch goes through all of them in so many parts.
  """

  def __init__(self, config, parts: Parts, runs: stacked.Runs):
    built = self._built = parts.built
    self._config, self._inputs = config, parts.batches_of
    everywhere = sharding.replicated(built.mesh)
    self._rates = sharding.place((
        jnp.float32([p.optimizer.lr for p in parts.points]),
        jnp.float32([p.optimizer.weight_decay for p in parts.points])),
        everywhere)
    self._shapes = report.batch_shapes(
        parts.batches_of.shapes, config.train.batch_size, built.mesh)
    self.cuts = self._cuts(runs, config.sweep.chunk or len(runs.index))
    one = functools.partial(_one, config=config, built=built, parts=self.cuts)
    self._step = jax.jit(
        functools.partial(stacked.train_step, one=one),
        out_shardings=everywhere, static_argnames='chunk', donate_argnums=0)
    self._score = jax.jit(
        functools.partial(stacked.eval_step, one=functools.partial(
            step.eval_step, predict=parts.batches_of.val.reader.predict,
            loss=losses.cross_entropy)),
        out_shardings=everywhere, static_argnames='chunk')
    self._compiled = {}
    self.chunk = config.sweep.chunk
    if not self.chunk:
      self.chunk = self._fitting(runs)
    self._of(runs)

  def _cuts(self, runs: stacked.Runs, count: int) -> int:
    """Parts of a batch: those that were asked for, or as caches like it."""
    built = self._built
    if built.parts > 1 or built.method.readout is None:
      return built.parts
    params = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), runs.params)
    one = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype),
        self._shapes.inputs)
    rows = self._shapes.label.shape[0] // built.mesh.size
    return cuts.parts(
        built.predict, params, built.frozen, one, rows, count)

  def _of(self, runs: stacked.Runs):
    """The step compiled for so many runs in such chunks."""
    key = len(runs.index), self.chunk
    if key not in self._compiled:
      self._compiled[key] = self._step.lower(
          runs, self._built.frozen, self._shapes, *self._rates,
          chunk=self.chunk).compile()
    return self._compiled[key]

  def _fitting(self, runs: stacked.Runs) -> int:
    """The largest chunk whose step fits into memory; 0 = all runs at once."""
    # All processes have to run the same program.
    free, count = hosts.least(_free()), len(runs.index)
    while True:
      needs = self._of(runs).memory_analysis()
      if needs is None or needs.temp_size_in_bytes <= SHARE * free:
        return self.chunk
      if self.chunk == 1:
        raise ValueError(
            f'a step of a single run takes {needs.temp_size_in_bytes:,} bytes '
            f'of {free:,.0f} free ones: lower config.train.batch_size')
      self.chunk = -(-(self.chunk or count) // 2)

  def over_forward(self, runs: stacked.Runs) -> float:
    """FLOPs of a step of all runs over those of one forward pass."""
    of_step, forward = report.step_flops(
        self._config, self._built, self._inputs,
        functools.partial(self._step, chunk=self.chunk),
        (runs, self._built.frozen, self._shapes, *self._rates))
    return of_step / forward

  def step(self, runs: stacked.Runs, batch):
    """(runs, sums of each) after one more batch; uses the given runs up."""
    return self._of(runs)(runs, self._built.frozen, batch, *self._rates)

  def score(self, params, frozen, batch):
    """The sums of each run, each (K,), on one batch."""
    return self._score(params, frozen, batch, chunk=self.chunk)


def _one(state, frozen, batch, lr, weight_decay, *, config, built, parts):
  """A step of one run, at its own rates."""
  update = optimizer.build(
      config.optimizer, built.steps, built.steps_per_epoch, lr, weight_decay)
  return step.train_step(
      state, frozen, batch, predict=built.predict, loss=built.loss,
      optimizer=update, parts=parts, shards=built.mesh.size)


def _free() -> int:
  """Bytes that one device has left."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if 'bytes_limit' in stats:
    return stats['bytes_limit'] - stats['bytes_in_use']
  return psutil.virtual_memory().available
