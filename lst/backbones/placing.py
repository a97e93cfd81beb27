"""Weights of a checkpoint to where and what they are computed with, one by one.

Each is cast or quantised and put in its place before the next is read: the
host holds one tensor at a time, and never two copies of a model.
"""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding, SingleDeviceSharding
from jaxtyping import Array, Int

from lst.backbones.quantised import quantise
from lst.backbones.stacked import BLOCKS, Fetch, sliced, stack
from lst.backbones.vit import ViT

_BLOCK = re.compile(r'block_(\d+)/')
HOST = 'pinned_host'


class Stacking(NamedTuple):
  """A way to keep the blocks of a backbone as one stack.

  Attributes:
    empty: (depth, weight of one block) -> room for that of all.
    put: (stack, weight, block) -> the stack with it.
    done: (full stack) -> what is kept.
    fetch: (what is kept, block) -> the weights of one block, on the device;
      None if they are there already.
  """

  empty: Callable[[int, Any], Any]
  put: Callable[[Any, Any, int], Any]
  done: Callable[[Any], Any]
  fetch: Fetch | None


def _zeros(depth, leaf):
  return jax.tree.map(lambda x: jnp.zeros((depth, *x.shape), x.dtype), leaf)


@functools.partial(jax.jit, donate_argnums=0)
def _set(stack, leaf, block):
  return jax.tree.map(
      lambda s, x: jax.lax.dynamic_update_index_in_dim(s, x, block, 0),
      stack, leaf)


def _host_zeros(depth, leaf):
  return jax.tree.map(lambda x: np.zeros((depth, *x.shape), x.dtype), leaf)


def _host_set(stack, leaf, block):
  for s, x in zip(jax.tree.leaves(stack), jax.tree.leaves(leaf), strict=True):
    s[block] = np.asarray(x)
  return stack


def _pinned(stack):
  where = SingleDeviceSharding(
      jax.local_devices()[0], memory_kind=HOST)
  return jax.block_until_ready(jax.device_put(stack, where))


def to_device(blocks: Any, block: Int[Array, ''] | int) -> Any:
  """The weights of one block of a stack in host memory, on the device."""
  return jax.tree.map(
      lambda x: jax.device_put(x, jax.memory.Space.Device),
      sliced(blocks, block))


STACKINGS: dict[str, Stacking] = {
    'scan': Stacking(_zeros, _set, lambda stack: stack, None),
    'host': Stacking(_host_zeros, _host_set, _pinned, to_device),
}
# How blocks may be kept: each by itself, for a loop in Python, as a stack, or
# in files (`streamed`).
BLOCKS_KEPT = ('loop', *STACKINGS, 'disk')


def collect(
    weights: Iterable[tuple[str, np.ndarray]], depth: int, dtype: Any,
    kind: str = 'none', blocks: str = 'loop',
) -> dict:
  """The tree of frozen weights, each placed as it comes.

  Args:
    weights: (path, array) pairs, as `loading.opened` gives them.
    depth: number of blocks.
    dtype: of kernels; all that is small stays in f32.
    kind: a key of `quantised.KINDS` for the kernels of the blocks, or 'none'.
    blocks: one of `BLOCKS_KEPT`.
  """
  flat, stacks = {}, {}
  for path, array in weights:
    found = _BLOCK.match(path)
    made = leaf(path, array, dtype, kind if found else 'none')
    if not found or blocks == 'loop':
      flat[path] = made
      continue
    way, name = STACKINGS[blocks], path[found.end():]
    if name not in stacks:
      stacks[name] = way.empty(depth, made)
    stacks[name] = way.put(stacks[name], made, int(found[1]))
  tree = flax.traverse_util.unflatten_dict(flat, sep='/')
  if stacks:
    for name in list(stacks):
      # One by one, so that none is there twice but the one at hand.
      stacks[name] = STACKINGS[blocks].done(stacks.pop(name))
    tree[BLOCKS] = flax.traverse_util.unflatten_dict(stacks, sep='/')
  return tree


def shapes(
    vit: ViT, dtype: Any, kind: str = 'none', blocks: str = 'loop'
) -> dict:
  """What `collect` gives of a model's weights, as shapes."""
  def made():
    images = jnp.zeros((1, *vit.tile, 3))
    params = vit.init(jax.random.key(0), images)['params']
    flat = flax.traverse_util.flatten_dict(params, sep='/')
    flat = {k: leaf(k, x, dtype, kind if _BLOCK.match(k) else 'none')
            for k, x in flat.items()}
    tree = flax.traverse_util.unflatten_dict(flat, sep='/')
    return tree if blocks == 'loop' else stack(tree, vit.depth)

  return jax.eval_shape(made)


def leaf(path: str, array: Any, dtype: Any, kind: str) -> Any:
  """A weight as it is computed with, on the device.

  Args:
    path: of it, such as 'block_0/mlp/up/kernel'.
    array: what the checkpoint has.
    dtype: of a kernel.
    kind: as of `collect`, of this weight.
  """
  if not path.endswith('/kernel'):
    return jnp.asarray(array, jnp.float32)
  if kind == 'none':
    return jnp.asarray(array, dtype)
  # Until it is done, it holds what it is made of.
  return jax.block_until_ready(_quantise(jnp.asarray(array), kind))


_quantise = jax.jit(quantise, static_argnums=1)


def in_its_memory(
    where: Callable[[Array], Sharding]
) -> Callable[[Array], Sharding]:
  """`where` for weights of which some are in host memory, and stay there."""
  def of(x):
    kind = x.sharding.memory_kind
    return where(x).with_memory_kind(kind) if kind == HOST else where(x)

  return of
