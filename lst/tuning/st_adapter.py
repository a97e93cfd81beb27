"""ST-Adapter: bottlenecks with a convolution over the frames of a clip."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.backbones.backbone import Backbone
from lst.depthwise import depthwise
from lst.product import product
from lst.tuning.adapters import UNIFORM, layers_of, name_of
from lst.tuning.tuning import Tuning


def st_adapter(
    backbone: Backbone,
    rank: int = 384,
    kernel: tuple[int, ...] = (3, 1, 1),
    where: str = 'both',
) -> Tuning:
  """ST-Adapter (Pan et al., NeurIPS 2022, arXiv 2206.13559).

  Ahead of a layer, x + conv(x D) U on the residual stream, for the patches of
  all frames of a clip together; conv is depth-wise over frames, rows and
  columns. As the authors' code has it (linziyi96/st-adapter,
  `models_adapter.py`): biases but no activation, CLS tokens passed by, the
  convolution zero at first, D and U uniform; of ViT-B 384 channels and a
  kernel of (3, 1, 1), ahead of both layers of every block on
  Something-Something v2 and ahead of the MLP alone on Kinetics-400. Their
  dropout ahead of the classifier is left out. An image is a clip of one frame.
  Where a CLS token is classified, what stands ahead of the last MLP changes
  nothing: no layer brings it there.

  Args:
    backbone: that is tuned; the frames of a clip go through one by one.
    rank: channels of the bottleneck.
    kernel: frames, rows and columns of the convolution; odd.
    where: a key of `adapters.WHERE`.

  Raises:
    ValueError: an argument outside its range.
  """
  layers = layers_of(backbone, rank, where, 'st_adapter')
  _check(kernel)
  clip = max(backbone.frames, 1), *_grid(backbone)

  def init(key, frozen):
    del frozen
    keys = jax.random.split(key, len(layers))
    return {
        name: _initial(own, backbone.width, rank, tuple(kernel))
        for name, own in zip(sorted(layers), keys, strict=True)}

  return Tuning(init, at=_at(layers, clip, backbone.prefix))


def _check(kernel) -> None:
  if len(kernel) != 3 or any(side < 1 or side % 2 == 0 for side in kernel):
    raise ValueError(
        f'config.tuning.st_adapter.kernel={tuple(kernel)} has to be three odd '
        'numbers: of frames, rows and columns')


def _at(layers, clip, prefix):
  """(params, weights) -> the hook."""
  def at(params, weights):
    del weights

    def hook(k, x):
      name = name_of(k)
      return _adapted(params[name], x, clip, prefix) if name in layers else x

    return hook

  return at


def _grid(backbone: Backbone) -> tuple[int, int]:
  """Rows and columns of patches, which are square."""
  patches = backbone.tokens - backbone.prefix
  height, width = backbone.image_size
  rows = round((patches * height / width) ** 0.5)
  return rows, patches // rows


def _initial(key, width, rank, kernel):
  down, up = jax.random.split(key)
  return {
      'down': UNIFORM(down, (width, rank)), 'down_bias': jnp.zeros(rank),
      'kernel': jnp.zeros((*kernel, rank)), 'kernel_bias': jnp.zeros(rank),
      'up': UNIFORM(up, (rank, width)), 'up_bias': jnp.zeros(width)}


def _adapted(
    params, x: Float[Array, 'm n d'], clip: tuple[int, int, int], prefix: int
) -> Float[Array, 'm n d']:
  """All frames of all clips, (B T, N, D); operands in the dtype of `x`."""
  h = product('bnd,dr->bnr', x[:, prefix:], params['down'].astype(x.dtype))
  h = (h + params['down_bias']).reshape(-1, *clip, h.shape[-1])
  h = depthwise(h, params['kernel']) + params['kernel_bias']
  h = h.reshape(len(x), -1, h.shape[-1]).astype(x.dtype)
  h = product('bnr,rd->bnd', h, params['up'].astype(x.dtype))
  h = jnp.pad(h + params['up_bias'], ((0, 0), (prefix, 0), (0, 0)))
  return (x + h).astype(x.dtype)
