"""Full fine-tuning and BitFit: the backbone's own weights, or its biases."""

import flax.traverse_util
import jax
import jax.numpy as jnp

from lst.tuning.tuning import Tuning


def full() -> Tuning:
  """Full fine-tuning: every weight, from where the checkpoint has it.

  Trained and kept in f32, and cast to the dtype of the frozen weight for the
  pass. The frozen weights give the start alone.
  """
  def init(key, frozen):
    del key
    return jax.tree.map(lambda x: x.astype(jnp.float32), frozen)

  def weights(params, frozen):
    return jax.tree.map(lambda x, w: x.astype(w.dtype), params, frozen)

  return Tuning(init, weights)


def bitfit() -> Tuning:
  """BitFit (Ben Zaken et al., ACL 2022): every bias, and nothing else.

  Those of the dense layers, of the norms and of the embedding of patches.
  """
  def init(key, frozen):
    del key
    flat = flax.traverse_util.flatten_dict(frozen)
    return flax.traverse_util.unflatten_dict({
        path: x.astype(jnp.float32) for path, x in flat.items()
        if path[-1] == 'bias'})

  return Tuning(init, with_leaves)


def with_leaves(leaves: dict, frozen: dict) -> dict:
  """`frozen` with `leaves` added, or in the place of those of the same path."""
  flat = flax.traverse_util.flatten_dict(frozen)
  flat |= flax.traverse_util.flatten_dict(leaves)
  return flax.traverse_util.unflatten_dict(flat)
