"""SSF: a scale and a shift after every operation with weights."""

import flax.traverse_util
import jax.numpy as jnp

from lst.tuning.tuning import Tuning
from lst.tuning.weights import with_leaves


def ssf() -> Tuning:
  """SSF (Lian et al., NeurIPS 2022): y = gamma * x + beta.

  After each dense layer, each norm and the embedding of patches; where a norm
  does it already, its own scale and bias take it in. What is trained is
  gamma - 1 and beta, both zero at the start (the authors draw them with a
  standard deviation of 0.02): so weight decay draws towards the backbone.
  """
  def init(key, frozen):
    del key
    out = {}
    for path, kind, width in _places(frozen):
      del kind
      out |= {(*path, name): jnp.zeros(width) for name in ('gain', 'shift')}
    return flax.traverse_util.unflatten_dict(out)

  def weights(params, frozen):
    given = flax.traverse_util.flatten_dict(params)
    flat, out = flax.traverse_util.flatten_dict(frozen), {}
    for path, kind, _ in _places(frozen):
      gain, shift = 1 + given[(*path, 'gain')], given[(*path, 'shift')]
      if kind == 'dense':
        out |= {(*path, 'gain'): gain, (*path, 'shift'): shift}
      else:
        out[(*path, 'scale')] = flat[(*path, 'scale')] * gain
        out[(*path, 'bias')] = flat[(*path, 'bias')] * gain + shift
    return with_leaves(flax.traverse_util.unflatten_dict(out), frozen)

  return Tuning(init, weights)


def _places(frozen: dict):
  """(path, 'dense' or 'norm', channels) of all that has a scale and a shift."""
  flat = flax.traverse_util.flatten_dict(frozen)
  for path in sorted(flat):
    *rest, leaf = path
    if leaf == 'kernel':
      yield tuple(rest), 'dense', flat[path].shape[-1]
    elif leaf == 'scale' and (*rest, 'bias') in flat:
      yield tuple(rest), 'norm', flat[path].shape[-1]
