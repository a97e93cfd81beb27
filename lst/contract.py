"""`Method`: what can be trained on a frozen backbone, as two pure functions."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from lst import placement, side, taps, tuning
from lst.backbones.frozen import Backbone, by_input, entering
from lst.features import Features, Norm
from lst.product import written

Params = Any


class Method(NamedTuple):
  """A way to adapt a backbone. A training step differentiates `params` alone.

  Attributes:
    init: (key, frozen, inputs) -> params.
    predict: (params, frozen, inputs) -> logits (B, C) in f32.
    extract: of a side method, (frozen, inputs) -> prepared `Features`.
    readout: of a side method, (params, features) -> logits; `predict` is
      `readout` on what `extract` gives.
    resume: of a method that goes on through the backbone from what `extract`
      gives, in place of `readout`: (params, frozen, features) -> logits.
    run: `extract` to be called with arrays, and never inside of a program: it
      is compiled, or run block by block where the blocks stay on disk.
  """

  init: Callable[[Array, Any, Any], Params]
  predict: Callable[[Params, Any, Any], Float[Array, 'b c']]
  extract: Callable[[Any, Any], Features] | None = None
  readout: Callable[[Params, Features], Float[Array, 'b c']] | None = None
  resume: Callable[[Params, Any, Features], Float[Array, 'b c']] | None = None
  run: Callable[[Any, Any], Features] | None = None


def beside(
    extract: Callable[[Any, Any], Features], network: side.SideNetwork,
    run: Callable[[Any, Any], Features] | None = None,
) -> Method:
  """The method that trains `network` on what `extract(frozen, inputs)` gives.

  Whatever makes the same `Features` can take the place of `extract`: a cache,
  a quantised backbone, another framework. What is no program takes that of
  `run`, and `extract` then gives but the shapes.
  """
  def kept_apart(features):
    # Nothing is fused over this line, so that features from a cache give the
    # same bits as those made on the spot.
    return jax.lax.optimization_barrier(network.prepare(features))

  def prepared(frozen, inputs):
    return kept_apart(extract(frozen, inputs))

  def init(key, frozen, inputs):
    features = jax.eval_shape(prepared, frozen, inputs)
    # Norm's eps is a number, not an array: no shape to trace for it.
    return network.lazy_init(key, features, method='readout')['params']

  def readout(params, features):
    return network.apply({'params': params}, features, method='readout')

  def predict(params, frozen, inputs):
    return readout(params, prepared(frozen, inputs))

  if run is None:
    return Method(init, predict, prepared, readout, run=jax.jit(prepared))
  finish = jax.jit(kept_apart)
  return Method(
      init, predict, prepared, readout,
      run=lambda frozen, inputs: finish(run(frozen, inputs)))


def on_stored(
    method: Method, expand: Callable[[Any, Any], Features]
) -> Callable[[Params, Any, Any], Array]:
  """`predict` of a method with `extract`, for inputs that come from a cache.

  (params, codebook, stored) -> logits: a batch holds what is stored of each
  image; `expand(stored, codebook)` makes of it what `extract` gave. Where the
  method goes on through the backbone, (codebook, weights) is the second
  argument.
  """
  if method.resume:
    def resume(params, both, stored):
      codebook, frozen = both
      return method.resume(params, frozen, expand(stored, codebook))

    return resume

  def predict(params, codebook, stored):
    return method.readout(params, expand(stored, codebook))

  return predict


def in_pass(
    extract: Callable[[Any, Any], Features],
    features: Callable[[Any, Any], Features],
    network: side.SideNetwork,
) -> Method:
  """`beside`, on `taps.features`, which no cache can give."""
  def predict(params, frozen, inputs):
    call = functools.partial(
        network.apply, {'params': params}, method='readout')
    return taps.answered(call, features(frozen, inputs))

  return Method(beside(extract, network).init, predict)


def adapted(placed: placement.Placed, head: side.SideNetwork) -> Method:
  """The method that trains adapters on edges, and `head` on the last state."""
  def prepared(frozen, inputs):
    # The plain pass by itself, as `beside` has its features.
    return jax.lax.optimization_barrier(placed.extract(frozen, inputs))

  def init(key, frozen, inputs):
    key, head_key = jax.random.split(key)
    features = jax.eval_shape(prepared, frozen, inputs)
    last = features._replace(taps=features.taps[-1:])
    return {
        'adapters': placed.init(key),
        'head': head.lazy_init(head_key, last)['params']['head']}

  def resume(params, frozen, features):
    # Apart from the head as well: adapters that add zero leave its bits.
    last = written(
        placed.resume(params['adapters'], frozen, features),
        features.norm.scale[0])
    return head.apply(
        {'params': {'head': params['head']}}, Features((last,), features.norm))

  def predict(params, frozen, inputs):
    return resume(params, frozen, prepared(frozen, inputs))

  return Method(
      init, predict, prepared, resume=resume, run=jax.jit(prepared))


def through(
    backbone: Backbone,
    tuned: tuning.Tuning,
    head: side.SideNetwork,
    remat: bool = False,
) -> Method:
  """The method that trains `tuned`, back-propagated through `backbone`.

  Of clips (B, T, H, W, 3) each frame is an image by itself, but for what
  `tuned` makes of them; a backbone of tubelets takes them whole, and the tokens
  ahead of a clip's are not classified, as `extractor` leaves them out.

  Args:
    backbone: that is tuned.
    tuned: what is trained of it.
    head: that classifies its last state, under its final norm.
    remat: as of `tuning.states`.
  """
  states = tuning.states(backbone, tuned, remat)

  def features(params, frozen, inputs):
    weights = tuned.weights(params, frozen)
    norm = Norm(weights['norm']['scale'], weights['norm']['bias'], backbone.eps)
    last = states(params, weights, entering(backbone, inputs))
    return Features((by_input(backbone, last, inputs),), norm)

  def init(key, frozen, inputs):
    params = tuned.init(key, frozen)
    shapes = jax.eval_shape(features, params, frozen, inputs)
    # Of a head alone, which starts at zero, no key matters.
    return {'tuned': params} | head.lazy_init(key, shapes)['params']

  def predict(params, frozen, inputs):
    seen = features(params['tuned'], frozen, inputs)
    return head.apply({'params': {'head': params['head']}}, seen)

  return Method(init, predict)
