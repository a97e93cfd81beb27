"""Blocks that stay on disk: read ahead, used and let go, one after another.

Two are in memory at a time: one is computed with while a thread reads the next.
The host runs a program of one block over and over; no program calls back to it.
A trace of such a backbone knows the shapes of its weights and cannot be run.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import mlir
from jaxtyping import Array, Float, Int, Num

from lst.backbones.block_files import REST, Files, Packed, name_of
from lst.backbones.stacked import BLOCKS

# Blocks in memory at a time.
MOST = 2


@jax.tree_util.register_pytree_node_class
class OnDisk:
  """What stands in a tree of weights for blocks that are files.

  Attributes:
    digest: uint8 (32,), the sha256 of all weights of the backbone, an array:
      trees that differ in a block differ here. Blocks are brought to where it
      lies.
    blocks: a `Blocks`.
  """

  def __init__(self, digest: Any, blocks: 'Blocks'):
    self.digest, self.blocks = digest, blocks

  def tree_flatten(self):
    """The digest is an array, the blocks are not."""
    return (self.digest,), self.blocks

  @classmethod
  def tree_unflatten(cls, blocks, children):
    """The inverse of `tree_flatten`."""
    return cls(*children, blocks)

  @property
  def parameters(self) -> int:
    """Number of them in all blocks."""
    return self.blocks.files.depth * sum(
        x.size for x in jax.tree.leaves(self.blocks.shapes))


class Blocks:
  """Files of blocks, and the shapes of the weights of one.

  Compared by identity, so that a program is compiled for one of them once.
  """

  def __init__(self, files: Files, shapes: Any):
    self.files, self.shapes = files, shapes

  def read(self, block: int, where: jax.sharding.Sharding) -> Any:
    """The weights of a block, on the devices when this returns."""
    def put(x):
      if isinstance(x, Packed):
        return _unpacked(jax.device_put(x.bytes, where))
      return jax.device_put(x, where)

    return jax.block_until_ready(
        jax.tree.map(put, self.files.read(name_of(block))))


@jax.jit
def _unpacked(halves: Num[Array, 'd f']) -> Int[Array, 'd g']:
  return jax.lax.bitcast_convert_type(halves, jnp.int4).reshape(
      len(halves), -1)


def frozen(files: Files, shapes: dict) -> dict:
  """The tree of weights of a backbone whose blocks stay on disk.

  Args:
    files: its own.
    shapes: of all its weights, as a loop has them.
  """
  digest = jnp.asarray(list(bytes.fromhex(files.about['sha256'])), jnp.uint8)
  rest = jax.tree.map(jnp.asarray, files.read(REST))
  return rest | {BLOCKS: OnDisk(digest, Blocks(files, shapes['block_0']))}


_weights_on_disk = core.Primitive('weights_on_disk')
_weights_on_disk.multiple_results = True
_WHY = (
    "config.backbone.blocks='disk' runs block by block on the host and is in "
    "no program: use `Method.run`, or config.backbone.blocks='host'")


def _refused(*args, **kwargs):
  raise ValueError(_WHY)


_weights_on_disk.def_impl(_refused)
_weights_on_disk.def_abstract_eval(
    lambda block, shapes: [jax.core.ShapedArray(*of) for of in shapes])
mlir.register_lowering(_weights_on_disk, _refused)


def fetch(on_disk: OnDisk, block: Int[Array, ''] | int) -> Any:
  """The weights of a block in a trace: shapes, which no program can have."""
  leaves, tree = jax.tree.flatten(on_disk.blocks.shapes)
  shapes = tuple((x.shape, x.dtype) for x in leaves)
  return jax.tree.unflatten(
      tree, _weights_on_disk.bind(jnp.asarray(block), shapes=shapes))


class Ahead:
  """What `read(0)`, `read(1)`, ... give, read by a thread ahead of its use.

  No more than `most` are there that `done` has not been told of. As a context,
  it leaves no thread behind.

      with Ahead(read, 3) as coming:
        use(coming.next())
        coming.done()

  Args:
    read: number -> anything; what it raises, `next` raises.
    count: numbers to read.
    most: at a time.
  """

  def __init__(
      self, read: Callable[[int], Any], count: int, most: int = MOST):
    self._read, self._count, self._stop = read, count, False
    self._room, self._ready = threading.Semaphore(most), queue.SimpleQueue()
    self._thread = threading.Thread(target=self._go, daemon=True)

  def __enter__(self) -> 'Ahead':
    self._thread.start()
    return self

  def __exit__(self, *error) -> None:
    self._stop = True
    self._room.release()
    self._thread.join()

  def _go(self) -> None:
    for k in range(self._count):
      self._room.acquire()
      if self._stop:
        return
      try:
        self._ready.put((self._read(k), None))
      except Exception as error:
        self._ready.put((None, error))
        return

  def next(self) -> Any:
    """The next one, as soon as it is read."""
    found, error = self._ready.get()
    if error is not None:
      raise error
    return found

  def done(self) -> None:
    """Makes room: the earliest one that is there is not used any more."""
    self._room.release()


def states(
    weights: dict, images: Num[Array, 'b *t h w c'],
    enter: Callable, step: Callable, nodes: tuple[int, ...],
) -> tuple[Float[Array, 'b n d'], ...]:
  """The states of even numbers `nodes`, from 2, run block by block.

  Args:
    weights: as `frozen` gives them.
    images: as `Backbone.apply` takes them.
    enter: (the weights of no block, images) -> state 0.
    step: (weights of a block, state, images as shapes) -> the next state.
    nodes: of the states; the pass ends with the highest.
  """
  on_disk, found = weights[BLOCKS], {}
  rest = {name: x for name, x in weights.items() if name != BLOCKS}
  where = on_disk.digest.sharding

  def read(block):
    return on_disk.blocks.read(block, where)

  with Ahead(read, max(nodes) // 2) as coming:
    x = enter(rest, images)
    for block in range(max(nodes) // 2):
      after = step(coming.next(), x, images.shape)
      # It came from the block before, which is done with when it is there.
      jax.block_until_ready(x)
      if block:
        coming.done()
      x = after
      if 2 * block + 2 in nodes:
        found[2 * block + 2] = x
  return tuple(found[k] for k in nodes)
