"""LoRA: a low-rank addition to dense layers."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp

from lst.tuning.adapters import UNIFORM
from lst.tuning.tuning import Tuning
from lst.tuning.weights import with_leaves

# What each choice of targets adds to, by the last two names of a layer's path:
# of the joined layer of queries, keys and values, which of them.
TARGETS = {
    'qv': {('attention', 'qkv'): 'qv'},
    'all': {
        ('attention', 'qkv'): 'qkv', ('attention', 'out'): 'w',
        ('mlp', 'up'): 'w', ('mlp', 'down'): 'w'},
}


def lora(rank: int = 8, scale: float = 1.0, targets: str = 'qv') -> Tuning:
  """LoRA (Hu et al., ICLR 2022): h = W x + scale U D x.

  The two factors act on the activations one after the other (`layers.Dense`):
  no gradient of the size of W is ever computed, as one through W + scale U D
  would be. D starts random and U at zero.

  Args:
    rank: of each addition.
    scale: the paper's alpha / rank.
    targets: 'qv' (queries and values) or 'all' (queries, keys and values each,
      the output of attention, both layers of the MLP).

  Raises:
    ValueError: an argument outside its range.
  """
  if targets not in TARGETS:
    raise ValueError(
        f'config.tuning.lora.targets={targets!r} is none of '
        f'{", ".join(TARGETS)}')
  if rank < 1:
    raise ValueError(f'config.tuning.lora.rank={rank} has to be at least 1')

  def weights(params, frozen):
    flat, leaves = flax.traverse_util.flatten_dict(params), {}
    for path, kernel, parts in _targets(frozen, targets):
      downs = [flat[(*path, part, 'down')] for part in parts]
      ups = {part: flat[(*path, part, 'up')] for part in parts}
      leaves[(*path, 'down')] = jnp.concatenate(downs, 1)
      leaves[(*path, 'up')] = scale * _rows(ups, kernel.shape[1])
    return with_leaves(flax.traverse_util.unflatten_dict(leaves), frozen)

  return Tuning(
      functools.partial(_init, rank=rank, targets=targets), weights)


def _init(key, frozen, *, rank, targets):
  out = {}
  for path, kernel, parts in _targets(frozen, targets):
    inputs, outputs = kernel.shape
    width = outputs // 3 if parts != 'w' else outputs
    for part in parts:
      key, own = jax.random.split(key)
      # As the authors' code has it.
      out[(*path, part, 'down')] = UNIFORM(own, (inputs, rank))
      out[(*path, part, 'up')] = jnp.zeros((rank, width))
  return flax.traverse_util.unflatten_dict(out)


def _targets(frozen: dict, targets: str):
  """(path, kernel, parts) of every layer that is added to, in a fixed order."""
  flat = flax.traverse_util.flatten_dict(frozen)
  for path in sorted(flat):
    parts = TARGETS[targets].get(path[-3:-1])
    if parts and path[-1] == 'kernel':
      yield path[:-1], flat[path], parts


def _rows(ups: dict, width: int):
  """The factors one below the other, each in the columns of its part."""
  if 'w' in ups:
    return ups['w']
  third = width // 3
  return jnp.concatenate([
      jnp.pad(up, ((0, 0), ('qkv'.index(part) * third,
                            (2 - 'qkv'.index(part)) * third)))
      for part, up in ups.items()])
