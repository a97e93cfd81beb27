"""Sharding: the mesh, and where weights, state and batch lie on it.

The mesh has an axis 'data' and, where asked for, an axis 'fsdp' whose devices
are of one host. A batch is split over both. What is trained is whole on every
device, and so is the backbone, unless there is an axis 'fsdp': then each of
its devices holds a part of every large weight, and the weights of a block are
gathered when the pass comes to it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def make_mesh(data: int = -1, fsdp: int = 1, devices=None) -> Mesh:
  """The mesh over the devices of all hosts.

  Args:
    data: devices on its axis 'data'; -1 = all that there are.
    fsdp: devices on its axis 'fsdp'; 1 = there is none.
    devices: default: all.

  Raises:
    ValueError: the devices cannot be laid out so.
  """
  devices = jax.devices() if devices is None else list(devices)
  hosts = len({device.process_index for device in devices})
  own = len(devices) // hosts
  if fsdp < 1 or own % fsdp:
    raise ValueError(
        f'config.mesh.fsdp={fsdp} has to divide the {own} devices of a host: '
        'blocks are gathered inside one')
  if data == -1:
    data = len(devices) // fsdp
  fewer = data * fsdp < len(devices) and hosts == 1
  if data < 1 or (data * fsdp != len(devices) and not fewer):
    raise ValueError(
        f'config.mesh: data={data} x fsdp={fsdp} are not the {len(devices)} '
        f'devices of {hosts} hosts; data=-1 takes all')
  # Host by host: its rows of a batch lie on its own devices, and only side
  # gradients, which are small, go from host to host.
  devices = sorted(devices, key=lambda d: (d.process_index, d.id))
  axes = {'data': data} | ({'fsdp': fsdp} if fsdp > 1 else {})
  return Mesh(
      np.array(devices[:data * fsdp]).reshape(*axes.values()), tuple(axes),
      axis_types=(AxisType.Auto,) * len(axes))


def fitting_mesh(devices: list, fsdp: int, sizes: Sequence[int]) -> Mesh:
  """The mesh of as many devices of a host as its batches divide over.

  Args:
    devices: of the host.
    fsdp: on the axis of this name, if so many are a part of them; else 1.
    sizes: of the batches.

  >>> dict(fitting_mesh(jax.devices()[:1], 4, (64, 100)).shape)
  {'data': 1}
  """
  fsdp = 1 if len(devices) % fsdp else fsdp
  count = max(n for n in range(1, len(devices) + 1) if n == 1 or (
      n % fsdp == 0 and not any(size % n for size in sizes)))
  return make_mesh(-1, min(fsdp, count), devices[:count])


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on every device: parameters, metrics, small weights."""
  return NamedSharding(mesh, P())


def batched(mesh: Mesh) -> NamedSharding:
  """The leading axis split over the devices: every array of a batch."""
  return NamedSharding(mesh, P(mesh.axis_names))


def frozen(mesh: Mesh, min_size: int) -> Callable[[Any], NamedSharding]:
  """Where a weight of the backbone lies: its longest axis split over 'fsdp'.

  Weights of fewer than `min_size` elements, or that do not divide, are whole.
  """
  def of(x) -> NamedSharding:
    parts = mesh.shape.get('fsdp', 1)
    fitting = [i for i, n in enumerate(x.shape) if n % parts == 0]
    if parts == 1 or math.prod(x.shape) < min_size or not fitting:
      return replicated(mesh)
    axis = max(fitting, key=lambda i: x.shape[i])
    return NamedSharding(mesh, P(*[None] * axis, 'fsdp'))

  return of


def gatherer(mesh: Mesh) -> Callable[[Any, Any], Any] | None:
  """(weights of a block, its input) -> those weights, whole; or None.

  They wait for the input, so that one block is gathered at a time.
  """
  if 'fsdp' not in mesh.axis_names:
    return None

  def gather(weights, x):
    weights, _ = jax.lax.optimization_barrier((weights, x))
    return jax.tree.map(
        lambda w: jax.lax.with_sharding_constraint(w, replicated(mesh)),
        weights)

  return gather


def place(tree: Any, where) -> Any:
  """Arrays that every process has, put on the devices.

  Args:
    tree: of arrays.
    where: a sharding, or array -> sharding.
  """
  def put(x):
    sharding = where(x) if callable(where) else where
    if jax.process_count() == 1:
      return jax.device_put(x, sharding)
    # `device_put` would send it around to see whether all have the same.
    host = np.asarray(x)
    return jax.make_array_from_callback(
        host.shape, sharding, lambda index: host[index])

  return jax.tree.map(put, tree)


def local_mesh(mesh: Mesh) -> Mesh:
  """The devices of this host."""
  return mesh if jax.process_count() == 1 else mesh.local_mesh


def on_this_host(tree: Any, mesh: Mesh) -> Any:
  """Weights that lie on all devices, as arrays on `local_mesh` alone."""
  if jax.process_count() == 1:
    return tree

  def local(x):
    return jax.make_array_from_single_device_arrays(
        x.shape, NamedSharding(mesh, x.sharding.spec),
        [shard.data for shard in x.addressable_shards])

  return jax.tree.map(local, tree)


def check_batch(batch_size: int, mesh: Mesh, field: str) -> None:
  """Raises ValueError unless `batch_size` divides over the devices."""
  if batch_size % mesh.size:
    raise ValueError(
        f'{field}={batch_size} does not divide over {mesh.size} devices: use a '
        f'multiple of {mesh.size}')


def put_batch(batch, mesh: Mesh):
  """This host's rows of a batch, as part of one array over all devices.

  Only its own rows are sent to each device.
  """
  sharding = batched(mesh)
  return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(
          sharding, np.asarray(x)), batch)
