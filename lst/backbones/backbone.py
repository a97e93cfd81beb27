"""The backbone that a config names, and the features that it makes."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lst.backbones import loading, passes, placing, quantised
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
  frozen = placing.collect(
      weights, checkpoint.vit.depth, checkpoint.vit.dtype, config.quantise,
      config.blocks)
  return _of(config, checkpoint, frozen)


def shaped(config) -> Backbone:
  """As `build`, but reads no weight: `frozen` holds shapes in their place."""
  checkpoint, _ = _opened(config)
  frozen = placing.shapes(
      checkpoint.vit, checkpoint.vit.dtype, config.quantise, config.blocks)
  return _of(config, checkpoint, frozen)


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


def _of(config, checkpoint, frozen) -> Backbone:
  vit = checkpoint.vit
  mean, std = NORMALISATIONS.get(
      config.normalisation, (checkpoint.mean, checkpoint.std))
  image_size = checkpoint.image_size
  if config.image_size:
    image_size = (config.image_size, config.image_size)
  rows, columns = grid = vit.grid_of(*image_size, vit.tubelet)[-2:]
  apply, states = passes.functions(vit, mean, std, grid, config.blocks)
  prefix, cls = (0, False) if vit.tubelet else (vit.prefix, checkpoint.cls)
  return Backbone(
      checkpoint.name, checkpoint.family, apply, frozen, image_size,
      rows * columns + prefix, vit.width, vit.depth, prefix, cls,
      checkpoint.norm_eps or vit.eps, mean, std, config.dtype, states,
      config.blocks, config.quantise, tubelet=vit.tubelet)


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

  def in_turn(frozen, images):
    return _in_turn(states_of, backbone, frozen, images)

  def extract(frozen, images):
    taps = jax.lax.platform_dependent(
        frozen, entering(backbone, images), cpu=in_turn, default=states_of)
    norm, taps = frozen['norm'], jax.lax.stop_gradient(taps)
    taps = tuple(by_input(backbone, tap, images) for tap in taps)
    return Features(taps, Norm(norm['scale'], norm['bias'], backbone.eps))

  return extract


def _in_turn(states_of, backbone: Backbone, frozen: dict, images: Array):
  """`states_of` on a few images at a time."""
  count = images_at_once(
      len(images), tokens_of(backbone, images), backbone.width)
  # Of a batch that lies on many devices, a few images lie on few of them.
  if count == len(images) or jax.device_count() > 1:
    return states_of(frozen, images)
  images = images.reshape(-1, count, *images.shape[1:])
  taps = jax.lax.map(functools.partial(states_of, frozen), images)
  return tuple(tap.reshape(-1, *tap.shape[2:]) for tap in taps)


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
