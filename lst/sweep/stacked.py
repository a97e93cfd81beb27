"""K runs as one: parameters of different shapes padded with zeros and stacked.

A padded rank stays as it is: its columns of Wd and rows of Wu are zero, so the
gradient of either is zero, and so are the steps of AdamW and its decay. The
same holds for the mixers of a block that a run leaves out.
"""

from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from lst import step


class Runs(NamedTuple):
  """The state of K runs; each leaf has a leading axis K.

  Attributes:
    index: which point of the sweep each run is; halving leaves some out.
    step, params, opt_state: as of `step.TrainState`.
    best_params: of the highest validation accuracy so far.
    best_accuracy: that accuracy; -1 ahead of the first.
    best_step: when it was reached.
  """

  index: Any
  step: Any
  params: Any
  opt_state: Any
  best_params: Any
  best_accuracy: Any
  best_step: Any


def _flat(tree) -> dict:
  return flax.traverse_util.flatten_dict(tree, sep='/')


def stack(trees: list[dict]) -> dict:
  """Nested dicts of arrays to one, padded with zeros to the largest shapes.

  A leaf that some trees lack is zero there.
  """
  flat = [_flat(jax.device_get(tree)) for tree in trees]
  out = {}
  for name in {name: None for tree in flat for name in tree}:
    leaves = [tree.get(name) for tree in flat]
    there = [x for x in leaves if x is not None]
    shape = np.max([x.shape for x in there], 0).astype(int)
    out[name] = np.zeros((len(trees), *shape), there[0].dtype)
    for k, leaf in enumerate(leaves):
      if leaf is not None:
        out[name][(k, *(slice(n) for n in leaf.shape))] = leaf
  return flax.traverse_util.unflatten_dict(out, sep='/')


def cut(tree: dict, k: int, like: dict) -> dict:
  """Run `k` of a stack, in the shapes of `like`: the inverse of `stack`."""
  flat = _flat(jax.device_get(tree))
  out = {
      name: flat[name][(k, *(slice(n) for n in leaf.shape))]
      for name, leaf in _flat(like).items()}
  return flax.traverse_util.unflatten_dict(out, sep='/')


def start(params: list[dict], optimizer) -> Runs:
  """All runs at step 0."""
  count = len(params)
  stacked = jax.tree.map(jnp.asarray, stack(params))
  # A step uses its runs up, each array of them once.
  best = jax.tree.map(jnp.copy, stacked)
  return Runs(
      np.arange(count, dtype=np.int32), np.zeros(count, np.int32), stacked,
      jax.jit(jax.vmap(optimizer.init))(stacked), best,
      np.full(count, -1, np.float32), np.zeros(count, np.int32))


def pick(runs: Runs, rows) -> Runs:
  """The runs at these rows (k,)."""
  return jax.tree.map(lambda x: x[np.asarray(rows)], runs)


def record(runs: Runs, accuracy, now: int) -> Runs:
  """Keeps the parameters of the runs that were never better; of equals too.

  Never those of a run that diverged, whose accuracy is -1.
  """
  better = (accuracy >= 0) & (accuracy >= runs.best_accuracy)

  def choose(new, old):
    mask = better.reshape(-1, *[1] * (old.ndim - 1))
    return jnp.where(mask, new, old)

  return runs._replace(
      best_params=jax.tree.map(choose, runs.params, runs.best_params),
      best_accuracy=jnp.where(better, accuracy, runs.best_accuracy),
      best_step=jnp.where(better, now, runs.best_step))


def train_step(runs: Runs, frozen, batch, lr, weight_decay, *, one, chunk):
  """A step of every run on the same batch.

  Args:
    runs: K runs.
    frozen, batch: shared by all.
    lr, weight_decay: (P,), by point.
    one: (TrainState, frozen, batch, lr, weight_decay) -> (TrainState, Sums).
    chunk: runs at the same time, 0 = all.

  Returns:
    The runs and their `metrics.Sums`, each (K,).
  """
  states = step.TrainState(runs.step, runs.params, runs.opt_state)
  with_rates = states, lr[runs.index], weight_decay[runs.index]

  def each(args):
    state, lr, weight_decay = args
    return one(state, frozen, batch, lr, weight_decay)

  if chunk:
    states, sums = jax.lax.map(each, with_rates, batch_size=chunk)
  else:
    states, sums = jax.vmap(each)(with_rates)
  return runs._replace(**states._asdict()), sums


def eval_step(params, frozen, batch, *, one, chunk):
  """The `metrics.Sums` of every run, each (K,), on the same batch."""
  def each(params):
    return one(params, frozen, batch)

  if chunk:
    return jax.lax.map(each, params, batch_size=chunk)
  return jax.vmap(each)(params)
