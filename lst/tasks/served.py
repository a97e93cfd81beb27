"""Serving: many side networks on one backbone, a task of its own each row."""

import functools
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num
from ml_collections import ConfigDict

from lst import config as config_lib
from lst import export, side
from lst.backbones import backbone as backbones
from lst.features import Features
from lst.sweep import stacked
from lst.tasks import fits


class _Stack(NamedTuple):
  """Parameters of all tasks, padded; a leading axis of the capacity.

  Attributes:
    params: of the side networks and heads.
    classes: how many each task has.
  """

  params: Any
  classes: Int[Array, ' t']


class Served:
  """Side networks of many tasks, ready for mixed batches. Made by `serve`.

  Attributes:
    paths: of the tasks, by index.
    classes: class names of each task, by index.
    backbone: that all of them read.
    capacity: tasks that there is room for before a program is compiled anew.
  """

  def __init__(
      self, tasks: dict[str, export.Adapted], backbone: backbones.Backbone,
      programs: dict | None = None, weights: str | None = None):
    self._weights = weights or export.digest(backbone.frozen)
    fits.check(tasks, backbone, self._weights)
    self.backbone, self._tasks = backbone, tasks
    self.paths = tuple(tasks)
    self.classes = tuple(task.classes for task in tasks.values())
    self.capacity = 1 << (len(tasks) - 1).bit_length()
    self._network = _widest([task.network for task in tasks.values()])
    self._stack = _stack(list(tasks.values()), self.capacity)
    # By network, shared with what `add` makes of this.
    self._programs = {} if programs is None else programs
    self._run = backbones.runner(backbone)

  def add(self, *paths: str | os.PathLike) -> 'Served':
    """The same and more tasks, at the next indices.

    Nothing is compiled anew as long as the capacity, a power of two, lasts and
    neither rank nor number of classes is above all that were there.
    """
    return Served(
        self._tasks | _read(paths, self._tasks), self.backbone,
        self._programs, self._weights)

  def predict(
      self, inputs: Num[Array | np.ndarray, 'b h w 3'] | Features,
      task: Int[Array | np.ndarray, ' b'] | list[int],
  ) -> Float[Array, 'b c']:
    """Logits of a batch whose rows belong to any of the tasks, in one pass.

    Its cost does not depend on the number of tasks that are stored.

    Args:
      inputs: images, uint8 or float in [0, 255], of the backbone's size; or
        what the backbone makes of them, `Features` of B images.
      task: of each row, an index into `paths`.

    Returns:
      (B, C) in f32, C the most classes of any task; -inf where the row's own
      task has fewer.

    Raises:
      ValueError: an index without a task, or inputs that do not fit.
    """
    task = self._indices(inputs, task)
    if self.backbone.steps and not isinstance(inputs, Features):
      inputs = self._run(self.backbone.frozen, inputs)
    network, featured = self._network, isinstance(inputs, Features)
    if (network, featured) not in self._programs:
      extract = _given if featured else backbones.extractor(self.backbone)
      self._programs[network, featured] = jax.jit(functools.partial(
          _predict, network=network, extract=extract))
    return self._programs[network, featured](
        self._stack, self.backbone.frozen, inputs, task)

  def _indices(self, inputs, task) -> Int[np.ndarray, ' b']:
    """`task` on the host: an index outside would be moved inside unseen."""
    task, count = np.asarray(task), len(self.paths)
    rows = len(inputs.taps[0] if isinstance(inputs, Features) else inputs)
    if task.shape != (rows,) or not np.issubdtype(task.dtype, np.integer):
      raise ValueError(
          f'task has shape {task.shape} and dtype {task.dtype}: it has to be '
          f'an integer for each of the {rows} rows')
    bad = task[(task < 0) | (task >= count)]
    if bad.size:
      raise ValueError(
          f'task {bad[0]} is none of the {count} that are served, 0 to '
          f'{count - 1}')
    size = self.backbone.image_size
    if not isinstance(inputs, Features) and inputs.shape[1:] != (*size, 3):
      raise ValueError(
          f'images have shape {inputs.shape}; this backbone reads (B, '
          f'{size[0]}, {size[1]}, 3)')
    return task.astype(np.int32)


def serve(
    paths: Iterable[str | os.PathLike],
    backbone: backbones.Backbone | None = None,
) -> Served:
  """Loads side networks that were trained on the same backbone.

  Ranks and skipped blocks may differ from task to task.

      served = lst.serve(['runs/many/digits/side.safetensors',
                          'runs/many/shapes/side.safetensors'])
      logits = served.predict(images, task)   # (B, H, W, 3), (B,) -> (B, C)
      best = logits.argmax(-1)
      names = [served.classes[t][c] for t, c in zip(task, best)]
      served = served.add('runs/flowers/side.safetensors')

  Args:
    paths: of the files that runs left, `side.safetensors`; task k is the k-th.
    backbone: as `lst.backbones.backbone.build` gives it; by default it is
      loaded as the first file says.

  Raises:
    FileNotFoundError, ValueError: a file is missing or damaged, or its
      backbone, the weights of that, image size, normalisation, dtype or
      structure is not that of the others.
  """
  tasks = _read(paths, {})
  if not tasks:
    raise ValueError('there is nothing to serve: give one path at least')
  if backbone is None:
    backbone = _backbone(*next(iter(tasks.items())))
  return Served(tasks, backbone)


def _read(paths, there) -> dict[str, export.Adapted]:
  out = {}
  for path in map(os.fspath, paths):
    if path in out or path in there:
      raise ValueError(f'{path} is given twice')
    out[path] = export.load(path)
    if out[path].network is None:
      raise ValueError(
          f'{path} holds no side network but what was trained inside of a '
          'backbone, which no other task can share: see lst.classifier')
    if out[path].about.get('frames'):
      raise ValueError(
          f'{path} was trained on videos, and tasks are served of images '
          'alone: see lst.classifier')
  return out


def _backbone(path: str, task: export.Adapted) -> backbones.Backbone:
  """The backbone that a task was trained on."""
  fields = config_lib.default().backbone
  flat = task.about.get('config', {})
  found = {
      name: flat[f'backbone.{name}'] for name in fields
      if f'backbone.{name}' in flat}
  if not found:
    raise ValueError(
        f'{path} does not say which backbone it was trained on: give `backbone`'
    )
  fields.update(ConfigDict(found))
  return backbones.build(fields)


def _widest(networks: list[side.SideNetwork]) -> side.SideNetwork:
  """The network that holds each of these, padded with zeros."""
  inner = networks[0].side
  if isinstance(inner, side.LowRank):
    inner = inner.clone(
        rank=max(n.side.rank for n in networks),
        skip=min(n.side.skip for n in networks), alpha=1.0)
  return networks[0].clone(
      side=inner, classes=max(n.classes for n in networks))


def _stack(tasks: list[export.Adapted], capacity: int) -> _Stack:
  # Room that is not taken yet holds the last task again; it has no index.
  tasks = [tasks[min(k, len(tasks) - 1)] for k in range(capacity)]
  params = stacked.stack([task.params for task in tasks])
  return jax.device_put(
      _Stack(params, np.int32([len(task.classes) for task in tasks])))


def _given(frozen, features: Features) -> Features:
  """Features that are there already."""
  del frozen
  return features


def _predict(stack: _Stack, frozen, inputs, task, *, network, extract):
  """Each row under the weights of its own task, gathered."""
  features = network.apply(
      {}, extract(frozen, inputs), method='prepare')
  own = jax.tree.map(lambda x: x[task], stack)

  def row(params, taps):
    # Every image is a batch of its own, since it has its own weights.
    features_1 = Features(tuple(tap[None] for tap in taps), features.norm)
    return network.apply({'params': params}, features_1, method='readout')[0]

  logits = jax.vmap(row)(own.params, features.taps)
  there = jnp.arange(logits.shape[-1]) < own.classes[:, None]
  return jnp.where(there, logits, -jnp.inf)
