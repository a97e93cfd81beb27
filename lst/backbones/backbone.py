"""A frozen backbone as two things: its weights and a pure function of them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from lst.backbones import loading
from lst.backbones.vit import At, unchanged
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
      state (B, N, D); `at(k, x)` is the hook of `vit.ViT`.
    frozen: the weights. They are an argument of every jitted function, never
      closed over: a closure would hold them twice.
    image_size: (height, width) in pixels.
    tokens, width, depth, prefix: N, D, L, and the CLS and register tokens
      among N.
    cls: whether token 0 is a CLS token.
    eps: of the final norm.
    mean, std: of the RGB inputs in [0, 1] that `apply` brings images to.
    dtype: 'bfloat16' or 'float32'.
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
  if config.dtype not in DTYPES:
    raise ValueError(
        f'config.backbone.dtype={config.dtype!r} is none of '
        f'{", ".join(DTYPES)}')
  checkpoint = loading.load(config.weights)
  vit = checkpoint.vit.clone(dtype=DTYPES[config.dtype])
  mean, std = checkpoint.mean, checkpoint.std
  if config.normalisation != 'backbone':
    if config.normalisation not in NORMALISATIONS:
      raise ValueError(
          f'config.backbone.normalisation={config.normalisation!r} is none of '
          f'backbone, {", ".join(NORMALISATIONS)}')
    mean, std = NORMALISATIONS[config.normalisation]
  image_size = checkpoint.image_size
  if config.image_size:
    image_size = (config.image_size, config.image_size)
  rows, columns = vit.grid_of(*image_size)

  def apply(
      frozen: dict, images: Num[Array, 'b h w c'], at: At = unchanged
  ) -> Float[Array, 'b n d']:
    x = (images.astype(jnp.float32) / 255 - jnp.array(mean)) / jnp.array(std)
    return vit.apply({'params': frozen}, x, at)

  return Backbone(
      checkpoint.name, checkpoint.family, apply,
      _cast(checkpoint.params, vit.dtype), image_size,
      rows * columns + vit.prefix, vit.width, vit.depth, vit.prefix,
      checkpoint.cls, vit.eps, mean, std, config.dtype)


def _cast(params: dict, dtype) -> dict:
  """Kernels in `dtype`, everything small in f32: norms, biases, tables."""
  def cast(path, x):
    return jnp.asarray(x, dtype if path[-1] == 'kernel' else jnp.float32)
  return flax.traverse_util.path_aware_map(cast, params)


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


def extractor(backbone: Backbone) -> Callable[[dict, Array], Features]:
  """`extract(frozen, images) -> Features`: the state after every block.

  Of clips (B, T, H, W, 3) each frame is an image by itself, and the taps (B, T
  N, D) hold the tokens of the frames one after another.

  The states are taken with the hook and nothing is differentiated: no
  gradient can reach the backbone, since its weights are no input of the loss's
  gradient. On a CPU a few images go through at a time, so that what lies
  between two products is still in its cache.
  """
  def states_of(frozen, images):
    states = {}

    def at(k, x):
      states[k] = x
      return x

    backbone.apply(frozen, images, at)
    return tuple(states[2 * block] for block in range(1, backbone.depth + 1))

  def in_turn(frozen, images):
    count = images_at_once(len(images), backbone.tokens, backbone.width)
    # Of a batch that lies on many devices, a few images lie on few of them.
    if count == len(images) or jax.device_count() > 1:
      return states_of(frozen, images)
    images = images.reshape(-1, count, *images.shape[1:])
    taps = jax.lax.map(functools.partial(states_of, frozen), images)
    return tuple(tap.reshape(-1, *tap.shape[2:]) for tap in taps)

  def extract(frozen, images):
    count = len(images)
    images = images.reshape(-1, *images.shape[-3:])
    taps = jax.lax.platform_dependent(
        frozen, images, cpu=in_turn, default=states_of)
    norm = frozen['norm']
    taps = _by_input(jax.lax.stop_gradient(taps), count)
    return Features(taps, Norm(norm['scale'], norm['bias'], backbone.eps))

  return extract
