"""`Method`: what can be trained on a frozen backbone, as two pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from lst import side
from lst.backbones.backbone import Backbone, extractor
from lst.features import Features

Params = Any


class Method(NamedTuple):
  """A way to adapt a backbone. A training step differentiates `params` alone.

  Attributes:
    init: (key, frozen, inputs) -> params.
    predict: (params, frozen, inputs) -> logits (B, C) in f32.
    extract: of a side method, (frozen, inputs) -> prepared `Features`.
    readout: of a side method, (params, features) -> logits; `predict` is
      `readout` on what `extract` gives.
  """

  init: Callable[[Array, Any, Any], Params]
  predict: Callable[[Params, Any, Any], Float[Array, 'b c']]
  extract: Callable[[Any, Any], Features] | None = None
  readout: Callable[[Params, Features], Float[Array, 'b c']] | None = None


def beside(
    extract: Callable[[Any, Any], Features], network: side.SideNetwork
) -> Method:
  """The method that trains `network` on what `extract(frozen, inputs)` gives.

  Whatever makes the same `Features` can take the place of `extract`: a cache,
  a quantised backbone, another framework.
  """
  def prepared(frozen, inputs):
    features = network.prepare(extract(frozen, inputs))
    # Nothing is fused over this line, so that features from a cache give the
    # same bits as those made on the spot.
    return jax.lax.optimization_barrier(features)

  def init(key, frozen, inputs):
    features = jax.eval_shape(prepared, frozen, inputs)
    # Norm's eps is a number, not an array: no shape to trace for it.
    return network.lazy_init(key, features, method='readout')['params']

  def readout(params, features):
    return network.apply({'params': params}, features, method='readout')

  def predict(params, frozen, inputs):
    return readout(params, prepared(frozen, inputs))

  return Method(init, predict, prepared, readout)


def on_stored(
    method: Method, expand: Callable[[Any, Any], Features]
) -> Callable[[Params, Any, Any], Array]:
  """`predict` of a side method for inputs that come from a cache.

  (params, codebook, stored) -> logits: a batch holds what is stored of each
  image; `expand(stored, codebook)` makes of it what `extract` gave.
  """
  def predict(params, codebook, stored):
    return method.readout(params, expand(stored, codebook))

  return predict


def _side(config, backbone: Backbone, classes: int) -> Method:
  network = side.build(
      config.side, classes, backbone.cls, backbone.prefix, backbone.frames)
  return beside(extractor(backbone), network)


METHODS = {
    'side': _side,
}


def build(config, backbone: Backbone, classes: int) -> Method:
  """The method that `config` (`lst.config.default()`) names.

  Raises:
    ValueError: `config.method` is not in `METHODS`.
  """
  if config.method not in METHODS:
    raise ValueError(
        f'config.method={config.method!r} is no method: choose one of '
        f'{", ".join(METHODS)}')
  return METHODS[config.method](config, backbone, classes)
