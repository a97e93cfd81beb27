"""One placement trained and measured, on data that is loaded once."""

import functools
import itertools
import time
import types
from collections.abc import Mapping
from typing import Any

import jax

from lst import build, evaluate, inputs, placement, sharding
from lst import config as config_lib

# Small images and few steps, so that a run is seconds of two CPU cores.
EPOCHS = {'digits': 5.0}
SPLITS = ('train', 'val', 'test')
FOLDER_SPLITS = {
    'train': 'train800', 'val': 'val200', 'test': 'test[:500]'}
DIGITS_SPLITS = {
    'train': 'train[:500]', 'val': 'train[500:1000]', 'test': 'test[:500]'}


def config_of(task: str, data: str):
  """The config of a task: the digits, or a ready folder below `data`."""
  config = config_lib.default()
  splits = DIGITS_SPLITS
  if task != 'digits':
    config.data.name, config.data.path, config.data.task = 'vtab', data, task
    splits = FOLDER_SPLITS
  for split in SPLITS:
    config.data[split] = splits[split]
  config.method = 'placed'
  config.backbone.image_size = 32
  config.cache.mode = 'off'
  config.train.epochs = EPOCHS.get(task, 4.0)
  config.train.eval_batch_size = 100
  config.optimizer.lr, config.optimizer.warmup_epochs = 5e-3, 0.5
  return config


class Task:
  """A task on which placements are trained, one after the other."""

  def __init__(self, task: str, data: str):
    self.config = config_of(task, data)
    self.built = build.build(self.config)

  def run(
      self, edges: tuple, seed: int = 0,
      fields: Mapping[str, Any] = types.MappingProxyType({}),
  ) -> dict[str, Any]:
    """Trains adapters on `edges` with other fields of the config.

    No edge and no other method is the linear probe.
    """
    config = self.config.copy_and_resolve_references()
    config.seed = seed
    config.placement.edges = tuple(tuple(edge) for edge in edges)
    if not edges:
      config.method, config.side.name = 'side', 'linear'
    config.update_from_flattened_dict(dict(fields))
    started = time.monotonic()
    same = config.backbone == self.config.backbone
    built = build.rebuilt(self.built, config) if same else build.build(config)
    built, batches_of = inputs.open_(config, built)
    state, batches = built.state, batches_of.train(0)
    for batch in itertools.islice(batches, built.steps):
      batch = sharding.put_batch(batch, built.mesh)
      state, _ = built.train_step(
          state, built.frozen, batches_of.ready(batch))
    batches.close()
    val, test = (
        evaluate.evaluate(state.params, split).means()['accuracy']
        for split in (batches_of.val, batches_of.test))
    own = self.layers if same else layers(built)
    forwards = own.forwards(placement.checked(edges, own.depth))
    head = state.params['head']
    return {
        'val_accuracy': val, 'test_accuracy': test,
        'parameters': sum(x.size for x in jax.tree.leaves(state.params))
                      - sum(x.size for x in jax.tree.leaves(head)),
        'forwards': round(forwards * own.whole / self.layers.whole, 4),
        'seconds': round(time.monotonic() - started, 2)}

  @functools.cached_property
  def layers(self) -> placement.Layers:
    """The FLOPs of the backbone's parts."""
    return layers(self.built)


def layers(built: build.Built) -> placement.Layers:
  """The FLOPs of a backbone's parts."""
  return placement.layers(built.backbone._replace(frozen=built.weights))
