"""A frozen backbone as two things: its weights and a pure function of them."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lst.backbones import loading, passes, placing, quantised
from lst.features import Features, Norm

# About half of what the cores of a CPU share; ViT-B is a tenth slower at half
# of it and no faster at double.
CACHE_BYTES = 2 ** 24
DTYPES = {'bfloat16': jnp.bfloat16, 'float32': jnp.float32}


class Backbone(NamedTuple):
  """A frozen backbone, ready to be applied.

  Attributes:
    name: of the checkpoint.
    family: the naming scheme the checkpoint came in.
    apply: (frozen, images uint8 or float in [0, 255] (B, H, W, 3), at) -> last
      state (B, N, D); `at(k, x)` is the hook of `vit.ViT`. That of `build`
      also takes `start`, a state that the second argument then is, ahead of
      `at`, `stop`, a state to end with, and `gather`, all of `vit.ViT`.
    frozen: the weights. They are an argument of every jitted function, never
      closed over: a closure would hold them twice.
    image_size: (height, width) in pixels.
    tokens, width, depth, prefix: N, D, L, and the CLS and register tokens
      among N.
    cls: whether token 0 is a CLS token.
    eps: of the final norm.
    mean, std: of the RGB inputs in [0, 1] that `apply` brings images to.
    dtype: 'bfloat16' or 'float32'.
    states: (frozen, images) -> the states after every block, (L, B, N, D),
      where the blocks are a stack that a scan runs over; None where not.
    blocks: how they are kept, one of `placing.BLOCKS_KEPT`.
    quantise: what their kernels are, of `quantised.KINDS`, or 'none'.
    frames: T of the clips that it is given, frame by frame; 0 for images.
  """

  name: str
  family: str
  apply: Callable[..., Array]
  frozen: dict
  image_size: tuple[int, int]
  tokens: int
  width: int
  depth: int
  prefix: int
  cls: bool
  eps: float
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  states: Callable[..., Array] | None = None
  blocks: str = 'loop'
  quantise: str = 'none'
  frames: int = 0

  @property
  def input_size(self) -> tuple[int, ...]:
    """([T,] height, width) of one input."""
    return (self.frames,) * bool(self.frames) + tuple(self.image_size)


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
  rows, columns = grid = vit.grid_of(*image_size)
  apply, states = passes.functions(vit, mean, std, grid, config.blocks)
  return Backbone(
      checkpoint.name, checkpoint.family, apply, frozen, image_size,
      rows * columns + vit.prefix, vit.width, vit.depth, vit.prefix,
      checkpoint.cls, vit.eps, mean, std, config.dtype, states, config.blocks,
      config.quantise)


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


def _by_input(taps, count: int):
  """The tokens of all frames of each of `count` inputs side by side."""
  return tuple(tap.reshape(count, -1, tap.shape[-1]) for tap in taps)


def extractor(
    backbone: Backbone, nodes: Sequence[int] | None = None
) -> Callable[[dict, Array], Features]:
  """`extract(frozen, images) -> Features`: the state after every block.

  Or those of the numbers `nodes`; the pass ends with the highest. They are
  taken with the hook and nothing is differentiated: no gradient can reach the
  backbone, as its weights are no input of the loss's gradient. On a CPU a few
  images go through at a time: what lies between two products stays in cache.

  Of clips (B, T, H, W, 3) each frame is an image by itself, and the taps (B, T
  N, D) hold the tokens of the frames one after another.

  Raises:
    ValueError: the blocks are a stack, whose scan goes on to the last one and
      gives the states after them, and `nodes` has others.
  """
  states_of = _recorder(backbone, nodes)

  def in_turn(frozen, images):
    return _in_turn(states_of, backbone, frozen, images)

  def extract(frozen, images):
    count = len(images)
    images = images.reshape(-1, *images.shape[-3:])
    taps = jax.lax.platform_dependent(
        frozen, images, cpu=in_turn, default=states_of)
    norm = frozen['norm']
    taps = _by_input(jax.lax.stop_gradient(taps), count)
    return Features(taps, Norm(norm['scale'], norm['bias'], backbone.eps))

  return extract


def _in_turn(states_of, backbone: Backbone, frozen: dict, images: Array):
  """`states_of` on a few images at a time."""
  count = images_at_once(len(images), backbone.tokens, backbone.width)
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
