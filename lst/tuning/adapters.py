"""Bottleneck adapters on the residual stream, through the hook alone."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.backbones.backbone import Backbone
from lst.backbones.layers import layer_norm
from lst.product import product
from lst.tuning.tuning import Tuning

# Which layers of a block: 0 is attention, 1 the MLP.
WHERE = {'attention': (0,), 'mlp': (1,), 'both': (0, 1)}
# U(-1, 1) / sqrt(inputs).
UNIFORM = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def adaptformer(
    backbone: Backbone, rank: int = 8, scale: float = 0.1
) -> Tuning:
  """AdaptFormer (Chen et al., NeurIPS 2022).

  Beside each MLP, x' + MLP(LN(x')) + scale ReLU(LN(x') D) U, under the frozen
  norm of the MLP; with biases, and without the authors' dropout of 0.1.

  Args:
    backbone: that is tuned.
    rank: channels of the bottleneck.
    scale: of what is added.
  """
  return _beside(backbone, rank, scale, 'mlp', 'adaptformer')


def parallel(
    backbone: Backbone, rank: int = 8, scale: float = 1.0, where: str = 'both'
) -> Tuning:
  """Parallel adapters (He et al., ICLR 2022, table 1): beside a layer.

  x + F(x) + scale ReLU(LN(x) D) U with the frozen norm that F begins with, so
  that both take the same input.

  Args:
    backbone: that is tuned.
    rank, scale: as of `adaptformer`.
    where: a key of `WHERE`.
  """
  return _beside(backbone, rank, scale, where, 'parallel')


def sequential(
    backbone: Backbone, rank: int = 8, scale: float = 1.0, where: str = 'both'
) -> Tuning:
  """Sequential adapters (Houlsby et al., ICML 2019, figure 2).

  After a layer, x + scale GELU(x D) U. It stands on the residual stream, as
  the hook has it, where the authors' stands on the layer's output ahead of the
  sum.

  Args: as of `parallel`.
  """
  layers = layers_of(backbone, rank, where, 'sequential')

  def at(params, weights):
    del weights

    def hook(k, x):
      name = name_of(k - 1)
      if name not in layers:
        return x
      return _added(x, bottleneck(params[name], x, nn.gelu), scale)

    return hook

  return Tuning(_initialiser(layers, rank, backbone.width), at=at)


def _beside(backbone, rank, scale, where, method) -> Tuning:
  layers = layers_of(backbone, rank, where, method)

  def at(params, weights):
    before = {}

    def hook(k, x):
      name = name_of(k - 1)
      if name in layers:
        norm = weights[f'block_{(k - 1) // 2}'][f'norm{2 - k % 2}']
        read = before.pop(k - 1)
        h = layer_norm(read, norm['scale'], norm['bias'], backbone.eps)
        x = _added(
            x, bottleneck(params[name], h.astype(x.dtype), nn.relu), scale)
      if name_of(k) in layers:
        before[k] = x
      return x

    return hook

  return Tuning(_initialiser(layers, rank, backbone.width), at=at)


def bottleneck(
    params: dict, x: Float[Array, 'b n d'], activation: Callable
) -> Float[Array, 'b n d']:
  """Down, activation, up: sums in f32, operands in the dtype of `x`."""
  h = product('bnd,dr->bnr', x, params['down'].astype(x.dtype))
  h = activation(h + params['down_bias']).astype(x.dtype)
  h = product('bnr,rd->bnd', h, params['up'].astype(x.dtype))
  return h + params['up_bias']


def _added(x, h, scale):
  return (x + scale * h).astype(x.dtype)


def name_of(layer: int) -> str:
  """Of layer k of 2L, between the states k and k + 1."""
  return f'layer_{layer}'


def layers_of(
    backbone: Backbone, rank: int, where: str, method: str
) -> frozenset[str]:
  """The names of the layers that have an adapter.

  Args:
    backbone: that is tuned.
    rank: of the adapters.
    where: a key of `WHERE`.
    method: whose options these are.

  Raises:
    ValueError: an option outside its range.
  """
  if where not in WHERE:
    raise ValueError(
        f'config.tuning.{method}.where={where!r} is none of '
        f'{", ".join(WHERE)}')
  if rank < 1:
    raise ValueError(f'config.tuning.{method}.rank={rank} has to be at least 1')
  return frozenset(
      name_of(2 * block + half)
      for block in range(backbone.depth) for half in WHERE[where])


def _initialiser(layers, rank, width) -> Callable:
  def init(key, frozen):
    del frozen
    keys = jax.random.split(key, len(layers))
    return {
        name: {
            'down': UNIFORM(own, (width, rank)), 'down_bias': jnp.zeros(rank),
            'up': jnp.zeros((rank, width)), 'up_bias': jnp.zeros(width)}
        for name, own in zip(sorted(layers), keys, strict=True)}

  return init
