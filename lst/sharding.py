"""Sharding: the mesh, and where the state and the batch lie on it."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def make_mesh(devices=None) -> Mesh:
  """A mesh of one axis, 'data', over all devices of all hosts."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh(
      (len(devices),), ('data',), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on every device: parameters, frozen weights, metrics."""
  return NamedSharding(mesh, P())


def batched(mesh: Mesh) -> NamedSharding:
  """The leading axis split over the devices: every array of a batch."""
  return NamedSharding(mesh, P('data'))


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
