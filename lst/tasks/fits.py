"""Whether side networks can be served together, on one backbone."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from lst import export, side
from lst.backbones import backbone as backbones
from lst.features import Features


def check(
    tasks: dict[str, export.Adapted], backbone: backbones.Backbone,
    weights: str | None,
) -> None:
  """Raises ValueError unless all tasks read this backbone in one way.

  Args:
    tasks: by path.
    backbone: of all of them.
    weights: `export.digest` of its weights.
  """
  first, shapes = next(iter(tasks)), _shapes(backbone)
  for path, task in tasks.items():
    export.check(path, task.about, backbone, weights)
    if task.about['side'].get('taps'):
      raise ValueError(
          f'{path} was trained with config.side.taps: what serves many tasks '
          'at once reads the state after every block')
    if task.about['side'].get('keep') == 'int8':
      raise ValueError(
          f'{path} was trained on 8-bit taps (config.side.keep), which '
          '`lst.classifier` gives it; what serves many tasks reads exact ones')
    ours, theirs = (_structure(tasks[p].network) for p in (path, first))
    if ours != theirs:
      raise ValueError(
          f'{path} holds another kind of side network than {first}: {ours} '
          f'against {theirs}. Only rank, skip, alpha and classes may differ')
    for name, (shape, fits) in _misfits(task, shapes).items():
      raise ValueError(
          f'{path}: {name} has shape {shape} where this backbone needs {fits}')


def _structure(network: side.SideNetwork) -> side.SideNetwork:
  """The network without what may differ from task to task."""
  inner = network.side
  if isinstance(inner, side.LowRank):
    inner = inner.clone(rank=1, skip=0, alpha=1.0)
  return network.clone(side=inner, classes=1)


def _shapes(backbone) -> Callable:
  """A network -> the shapes of its parameters on this backbone."""
  image = jax.ShapeDtypeStruct((1, *backbone.image_size, 3), np.uint8)
  features = jax.eval_shape(
      backbones.extractor(backbone), backbone.frozen, image)

  @functools.cache
  def shapes(network):
    def init(key, taps, norm):
      return network.init(key, Features(taps, norm))['params']

    return jax.eval_shape(
        init, jax.random.key(0), features.taps, features.norm)

  return shapes


def _misfits(task: export.Adapted, shapes: Callable) -> dict[str, tuple]:
  """{parameter: (its shape, the shape that fits)} where these differ."""
  def by_name(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): x.shape
        for path, x in jax.tree.leaves_with_path(tree)}

  here, there = by_name(task.params), by_name(shapes(task.network))
  return {
      name: (here.get(name), there.get(name))
      for name in sorted(here.keys() | there.keys())
      if here.get(name) != there.get(name)}
