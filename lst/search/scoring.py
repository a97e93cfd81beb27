"""The head of a task, trained alone, and the scores of edges under it."""

import functools
import itertools

import jax
import numpy as np
import psutil

from lst import (
    build,
    data,
    evaluate,
    inputs,
    optimizer,
    placement,
    sharding,
    step,
)
from lst import config as config_lib
from lst import method as methods
from lst.features import Features, Norm

# Of the free memory, what the states of the scored examples may take.
PART = 0.5


def shortened(config):
  """A copy of `config` whose run is `search.probe_epochs` long.

  Its warm-up is the same part of the run: the whole run's own would not be over
  when this one is.
  """
  out, epochs = config.copy_and_resolve_references(), config.search.probe_epochs
  with out.unlocked():
    out.optimizer.warmup_epochs *= epochs / config.train.epochs
    out.train.epochs = epochs
  return out


def probe_config(config):
  """The config of the head alone: a linear probe on the last state."""
  out = shortened(config)
  with out.unlocked():
    out.method, out.side.name = 'side', 'linear'
  return out


def trained(config, built: build.Built):
  """Trains what `config` names; (its parameters, validation accuracy or None).
  """
  reader, batches_of = inputs.open_(config, built)
  state, batches = reader.state, batches_of.train(0)
  try:
    for batch in itertools.islice(batches, built.steps):
      placed = sharding.put_batch(batch, built.mesh)
      state, _ = reader.train_step(
          state, reader.frozen, batches_of.ready(placed))
  finally:
    batches.close()
  if not batches_of.val:
    return state.params, None
  sums = evaluate.evaluate(state.params, batches_of.val)
  return state.params, sums.means()['accuracy']


def images(config, built: build.Built, size: int):
  """Endless training batches of `size` images."""
  batches = data.train_batches(
      built.dataset.train, batch_size=size,
      image_size=built.backbone.image_size, resize=config.data.resize,
      seed=config_lib.order_seed(config), workers=config.data.workers,
      prefetch=config.data.prefetch, cache_bytes=config.data.cache_bytes,
      augment=config.data.augment, views=config.data.views)
  try:
    yield from batches
  finally:
    batches.close()


def check_memory(config, built: build.Built) -> None:
  """Raises ValueError unless the states of the examples fit into memory."""
  backbone, search = built.backbone, config.search
  item = 2 if backbone.dtype == 'bfloat16' else 4
  # States and gradients, and once more while they are put side by side.
  needs = 3 * (2 * backbone.depth + 1) * item * (
      search.batches * search.batch_size * backbone.tokens * backbone.width)
  free = psutil.virtual_memory().available
  if needs > PART * free:
    raise ValueError(
        f'the states of config.search.batches={search.batches} batches of '
        f'{search.batch_size} examples take {needs / 2**30:.1f} GiB, more than '
        f'half of the {free / 2**30:.1f} GiB that are free: score fewer')


def scored_batches(config, built: build.Built) -> list[data.Batch]:
  """The examples that are scored."""
  size = config.search.batch_size
  sharding.check_batch(size, built.mesh, 'config.search.batch_size')
  endless = images(config, built, size)
  out = list(itertools.islice(endless, config.search.batches))
  endless.close()
  return out


class Task:
  """A task whose edges are scored.

  Attributes:
    adapter: that is to be placed.
  """

  def __init__(self, config, built: build.Built, head: dict):
    self.adapter = methods.adapter(config.placement)
    self._config, self._built = config, built
    self._params = {'adapters': {}, 'head': head}
    self._head = methods.head(
        config, built.backbone, len(built.dataset.classes))
    self._images = scored_batches(config, built)

  def spectra(self, edges: tuple[placement.Edge, ...]) -> np.ndarray:
    """Singular values for every edge, beside trained adapters on `edges`."""
    built = self._built
    placed = placement.place(
        built.backbone, edges, self.adapter, whole=True)
    params = {
        edge.name: self._params['adapters'][edge.name] for edge in edges}
    norm = built.weights['norm']
    norm = norm['scale'], norm['bias']

    def loss(last, target):
      labels, head, (scale, bias) = target
      features = Features(
          (last,), Norm(scale, bias, built.backbone.eps))
      logits = self._head.apply({'params': {'head': head}}, features)
      return built.loss(logits, labels).sum()

    of_batch = jax.jit(placement.states(placed, loss))
    batches = []
    for batch in self._images:
      batch = sharding.put_batch(batch, built.mesh)
      target = batch.label, self._params['head'], norm
      batches.append(jax.device_get(
          of_batch(params, built.weights, batch.inputs, target)))
    return placement.spectra(batches)

  def scores(self, values: np.ndarray) -> np.ndarray:
    """The scores (n, n) that the config asks for, of spectra (n, n, d)."""
    config = self._config
    return placement.scored(values, config.search.score, config.search.eta)

  def rescore(self, edges: tuple[placement.Edge, ...]) -> np.ndarray:
    """Scores after adapters on `edges` were trained for some steps more."""
    config, built = self._config, self._built
    placed = placement.place(
        built.backbone, placement.checked(edges, built.backbone.depth),
        self.adapter)
    fresh = placed.init(jax.random.key(config.seed))
    params = self._params | {'adapters': fresh | self._params['adapters']}
    update = optimizer.at_rate(
        config.optimizer, lambda count: config.optimizer.lr)
    state = step.TrainState(np.int32(0), params, update.init(params))
    method = methods.adapted(placed, self._head)
    train_step = jax.jit(functools.partial(
        step.train_step, predict=method.predict, loss=built.loss,
        optimizer=update))
    batches = images(config, built, config.train.batch_size)
    for batch in itertools.islice(batches, config.search.rescore_steps):
      placed_batch = sharding.put_batch(batch, built.mesh)
      state, _ = train_step(state, built.weights, placed_batch)
    batches.close()
    self._params = state.params
    return self.scores(self.spectra(edges))
