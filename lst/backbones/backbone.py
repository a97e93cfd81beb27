"""A frozen backbone as two things: its weights and a pure function of them."""

from collections.abc import Callable
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from lst.backbones import loading
from lst.backbones.vit import At, unchanged
from lst.features import Features, Norm

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


def extractor(backbone: Backbone) -> Callable[[dict, Array], Features]:
  """`extract(frozen, images) -> Features`: the state after every block.

  The states are taken with the hook and nothing is differentiated: no
  gradient can reach the backbone, since its weights are no input of the loss's
  gradient.
  """
  def extract(frozen, images):
    states = {}

    def at(k, x):
      states[k] = x
      return x

    backbone.apply(frozen, images, at)
    taps = tuple(states[2 * block] for block in range(1, backbone.depth + 1))
    norm = frozen['norm']
    taps = jax.lax.stop_gradient(taps)
    return Features(taps, Norm(norm['scale'], norm['bias'], backbone.eps))

  return extract
