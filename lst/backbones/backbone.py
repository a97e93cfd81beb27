"""The backbone that a config names, and the features that it makes."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lst.backbones import (
    converting,
    loading,
    passes,
    placing,
    quantised,
    streamed,
)
from lst.backbones.frozen import Backbone, by_input, entering, tokens_of
from lst.features import Features, Norm

# About half of what the cores of a CPU share; ViT-B is a tenth slower at half
# of it and no faster at double.
CACHE_BYTES = 2 ** 24
DTYPES = {'bfloat16': jnp.bfloat16, 'float32': jnp.float32}

NORMALISATIONS = {
    'half': ((0.5,) * 3, (0.5,) * 3),
    'imagenet': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def build(config) -> Backbone:
  """Loads the backbone that `config` (`lst.config.default().backbone`) names.

  Raises:
    FileNotFoundError, OSError, ValueError: as `loading.load` does, or a field
      that is not known.
  """
  checkpoint, weights = _opened(config)
  if config.blocks == 'disk':
    frozen = _on_disk(config, checkpoint.vit, weights)
  else:
    frozen = placing.collect(
        weights, checkpoint.vit.depth, checkpoint.vit.dtype, config.quantise,
        config.blocks)
  return _of(config, checkpoint, frozen, config.blocks)


def shaped(config) -> Backbone:
  """As `build`, but reads no weight: `frozen` holds shapes in their place.

  Blocks that stay on disk are shown as in host memory ('host'): the device
  holds as much of them.
  """
  checkpoint, _ = _opened(config)
  blocks = 'host' if config.blocks == 'disk' else config.blocks
  frozen = placing.shapes(
      checkpoint.vit, checkpoint.vit.dtype, config.quantise, blocks)
  return _of(config, checkpoint, frozen, blocks)


def _on_disk(config, vit, weights) -> dict:
  shapes = placing.shapes(vit, vit.dtype, config.quantise)
  files = converting.converted(
      converting.root_of(config.blocks_path),
      loading.identity(config.weights), vit, config.quantise, shapes, weights)
  return streamed.frozen(files, shapes)


def _opened(config):
  for field, known in (
      ('dtype', DTYPES), ('normalisation', ('backbone', *NORMALISATIONS)),
      ('quantise', ('none', *quantised.KINDS)),
      ('blocks', placing.BLOCKS_KEPT)):
    if config[field] not in known:
      raise ValueError(
          f'config.backbone.{field}={config[field]!r} is none of '
          f'{", ".join(known)}')
  checkpoint, weights = loading.opened(config.weights)
  vit = checkpoint.vit.clone(dtype=DTYPES[config.dtype])
  return checkpoint._replace(vit=vit), weights


def _of(config, checkpoint, frozen, blocks: str) -> Backbone:
  vit = checkpoint.vit
  mean, std = NORMALISATIONS.get(
      config.normalisation, (checkpoint.mean, checkpoint.std))
  image_size = checkpoint.image_size
  if config.image_size:
    image_size = (config.image_size, config.image_size)
  rows, columns = grid = vit.grid_of(*image_size, vit.tubelet)[-2:]
  apply, states = passes.functions(vit, mean, std, grid, blocks)
  steps = passes.steps(vit, mean, std) if blocks == 'disk' else None
  prefix, cls = (0, False) if vit.tubelet else (vit.prefix, checkpoint.cls)
  return Backbone(
      checkpoint.name, checkpoint.family, apply, frozen, image_size,
      rows * columns + prefix, vit.width, vit.depth, prefix, cls,
      checkpoint.norm_eps or vit.eps, mean, std, config.dtype, states,
      steps, blocks, config.quantise, tubelet=vit.tubelet)


def images_at_once(batch: int, tokens: int, width: int) -> int:
  """How many of `batch` images a CPU's cache holds at a time; divides it.

  As many as keep the MLP's hidden layer, the widest state (4 D in f32), within
  `CACHE_BYTES`; all of them where no divisor comes near that number.

  >>> images_at_once(64, tokens=197, width=768)
  4
  """
  most = max(CACHE_BYTES // (tokens * 4 * width * 4), 1)
  count = max(n for n in range(1, min(most, batch) + 1) if batch % n == 0)
  return count if 2 * count >= min(most, batch) else batch


def extractor(
    backbone: Backbone, nodes: Sequence[int] | None = None
) -> Callable[[dict, Array], Features]:
  """`extract(frozen, images) -> Features`: the state after every block.

  Or those of the numbers `nodes`; the pass ends with the highest. They are
  taken with the hook and nothing is differentiated: no gradient can reach the
  backbone, as its weights are no input of the loss's gradient. On a CPU a few
  images go through at a time: what lies between two products stays in cache.

  Of clips (B, T, H, W, 3) each frame is an image by itself, and the taps (B, T
  N, D) hold the tokens of the frames one after another. A backbone of tubelets
  takes them whole, and the taps hold those of each time, without the tokens
  ahead of them.

  Raises:
    ValueError: the blocks are a stack, whose scan goes on to the last one and
      gives the states after them, and `nodes` has others.
  """
  states_of = _recorder(backbone, nodes)

  def extract(frozen, images):
    entered = entering(backbone, images)
    taps = _few_at_a_time(states_of, backbone, frozen, entered, entered.shape)
    return _features(backbone, frozen, taps, images)

  return extract


def runner(
    backbone: Backbone, nodes: Sequence[int] | None = None
) -> Callable[[dict, Array], Features]:
  """`extractor`, to be called with arrays: compiled, or run by the host.

  The host runs it where the blocks stay on disk, a program for each.
  """
  if backbone.steps is None:
    return jax.jit(extractor(backbone, nodes))
  _recorder(backbone, nodes)  # Looks whether it has these states.
  nodes = tuple(nodes or range(2, 2 * backbone.depth + 1, 2))
  enter, step = backbone.steps

  @jax.jit
  def entered_by(frozen, images):
    return _few_at_a_time(enter, backbone, frozen, images, images.shape)

  @functools.partial(jax.jit, static_argnums=2)
  def stepped(weights, x, shape):
    def of(weights, x):
      return step(weights, x, (len(x), *shape[1:]))

    return _few_at_a_time(of, backbone, weights, x, shape)

  def run(frozen, images):
    images = jnp.asarray(images)
    taps = streamed.states(
        frozen, entering(backbone, images), entered_by, stepped, nodes)
    return _features(backbone, frozen, taps, images)

  return run


def _features(backbone, frozen, taps, images) -> Features:
  norm, taps = frozen['norm'], jax.lax.stop_gradient(taps)
  taps = tuple(by_input(backbone, tap, images) for tap in taps)
  return Features(taps, Norm(norm['scale'], norm['bias'], backbone.eps))


def _few_at_a_time(
    f: Callable, backbone: Backbone, weights: Any, x: Array,
    shape: tuple[int, ...]):
  """`f(weights, x)`, on a CPU on a few rows at a time.

  Args:
    f: gives arrays of as many rows as `x`.
    backbone: that it is a pass or a part of one of.
    weights, x: of it.
    shape: of the images of the pass.
  """
  count = images_at_once(
      len(x), tokens_of(backbone, shape), backbone.width)

  # Of a batch that lies on many devices, a few images lie on few of them.
  if count == len(x) or jax.device_count() > 1:
    return f(weights, x)

  def in_turn(weights, x):
    parts = x.reshape(-1, count, *x.shape[1:])
    made = jax.lax.map(functools.partial(f, weights), parts)
    return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), made)

  return jax.lax.platform_dependent(weights, x, cpu=in_turn, default=f)


def _recorder(backbone: Backbone, nodes: Sequence[int] | None) -> Callable:
  """(frozen, images) -> the states of the numbers `nodes`."""
  ends = {} if nodes is None else {'stop': max(nodes)}
  nodes = range(2, 2 * backbone.depth + 1, 2) if nodes is None else nodes
  others = [k for k in nodes if k % 2 or not k]
  if backbone.states and others:
    raise ValueError(
        f'config.backbone.blocks={backbone.blocks!r} gives the states after '
        f'blocks alone, those of even numbers from 2; {others} need '
        "config.backbone.blocks='loop'")

  def of_stack(frozen, images):
    found = backbone.states(frozen, images)
    return tuple(found[k // 2 - 1] for k in nodes)

  def of_loop(frozen, images):
    states = {}

    def at(k, x):
      states[k] = x
      return x

    backbone.apply(frozen, images, at, **ends)
    return tuple(states[k] for k in nodes)

  return of_stack if backbone.states else of_loop
