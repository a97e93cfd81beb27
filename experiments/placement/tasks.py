"""The tasks: their configs, and their images and plain states in memory."""

import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lst import build, data
from lst import config as config_lib
from lst.backbones import backbone as backbones

HERE = pathlib.Path(__file__).parent
DRAWN = ('count', 'sprite_x', 'texture')
BATCH, STEPS = 16, 120
SPLITS = {
    'digits': ('train[:800]', 'train[800:]', 'test[:600]'),
    **dict.fromkeys(DRAWN, ('train[:800]', 'train[800:]', 'test[:600]'))}
# Of ready folders.
FOLDER = ('train800', 'val200', 'test[:600]')


def config_of(task: str, folder: str):
  """The config of a task: bundled ones, or a ready folder below `folder`."""
  config = config_lib.default()
  # The default when this was measured; of LoSA alone.
  config.side.residual = 'running'
  if task in DRAWN:
    config.data.name, config.data.task = 'procedural', task
  elif task != 'digits':
    config.data.name, config.data.path, config.data.task = 'vtab', folder, task
  names = SPLITS.get(task, FOLDER)
  config.data.train, config.data.val, config.data.test = names
  config.method = 'placed'
  config.backbone.image_size = 32
  config.cache.mode = 'off'
  config.train.batch_size = BATCH
  config.train.epochs = STEPS * BATCH / 800
  config.train.eval_batch_size = 100
  config.optimizer.warmup_epochs = 0.1 * config.train.epochs
  return config


class Examples(NamedTuple):
  """A split in memory.

  Attributes:
    images: uint8 (n, H, W, 3).
    states: of the plain pass, (n, 2L + 1, N, D) in f32.
    labels: (n,).
  """

  images: np.ndarray
  states: np.ndarray
  labels: np.ndarray


class Task:
  """A task, its backbone, and its splits 'train', 'val' and 'test'."""

  def __init__(self, name: str, folder: str, image_size: int = 32):
    self.name = name
    self.config = config_of(name, folder)
    self.config.backbone.image_size = image_size
    # Data and backbone alone: what is trained is made by `train`.
    self.dataset = data.build(self.config.data)
    self.backbone = backbones.build(self.config.backbone)
    self.classes = len(self.dataset.classes)
    extract = backbones.extractor(
        self.backbone, range(2 * self.backbone.depth + 1))
    self._states = jax.jit(lambda frozen, images: jnp.stack(
        extract(frozen, images).taps, 1).astype(jnp.float32))

  @functools.cached_property
  def splits(self) -> dict[str, Examples]:
    """All examples, read once."""
    return {
        name: self._read(getattr(self.dataset, name))
        for name in ('train', 'val', 'test')}

  def _read(self, split) -> Examples:
    images, labels, states = [], [], []
    for batch in data.eval_batches(
        split, batch_size=100, image_size=self.backbone.image_size,
        resize=self.config.data.resize):
      there = batch.mask > 0
      images.append(batch.inputs[there])
      labels.append(batch.label[there])
      states.append(np.asarray(self._states(
          self.backbone.frozen, batch.inputs))[there])
    return Examples(*map(np.concatenate, (images, states, labels)))


def built(task: Task, **fields) -> build.Built:
  """All parts of a run of a task, for `lst.search` and the other methods."""
  config = task.config.copy_and_resolve_references()
  config.update_from_flattened_dict(fields)
  return build.build(config)
