"""The devices that can be planned for, with none of them present."""

import os
import re
from typing import NamedTuple

import jax

GIB = 2**30


class Chip(NamedTuple):
  """One accelerator, from its vendor's data sheet.

  Attributes:
    platform: 'tpu' or 'cuda'.
    memory: bytes that a program can have.
    flops: of products in bfloat16, a second, with no sparsity.
    bandwidth: bytes a second between the chip and its memory.
    link: bytes a second from the host's memory.
    kind: of a TPU, as libtpu calls it; of a GPU, its description to XLA.
  """

  platform: str
  memory: float
  flops: float
  bandwidth: float
  link: float
  kind: str


def _hopper(name: str, memory: float, bandwidth: float) -> str:
  return f'''
      platform_name: "CUDA"
      device_description_str: "NVIDIA {name}"
      dnn_version_info {{ major: 9 minor: 10 }}
      gpu_device_info {{
        cuda_compute_capability {{ major: 9 }}
        threads_per_block_limit: 1024 threads_per_warp: 32
        threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
        shared_memory_per_block: 49152 shared_memory_per_core: 233472
        shared_memory_per_block_optin: 232448
        registers_per_core_limit: 65536 registers_per_block_limit: 65536
        block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
        block_dim_limit_z: 65535 l2_cache_size: 52428800 clock_rate_ghz: 1.98
        memory_bandwidth: {int(bandwidth)} device_memory_size: {int(memory)}
      }}'''


CHIPS: dict[str, Chip] = {
    # libtpu keeps some of the 16 and 32 GiB for itself.
    'v5e': Chip('tpu', 15.75 * GIB, 197e12, 819e9, 16e9, 'v5litepod'),
    'v6e': Chip('tpu', 31.25 * GIB, 918e12, 1640e9, 32e9, 'v6e'),
    'h100': Chip('cuda', 79.1 * GIB, 989e12, 3350e9, 55e9, _hopper(
        'H100 80GB HBM3', 79.1 * GIB, 3350e9)),
    'h200': Chip('cuda', 139.8 * GIB, 989e12, 4800e9, 55e9, _hopper(
        'H200', 139.8 * GIB, 4800e9)),
}
_NEEDS = {
    'tpu': "pip install 'lst[plan]', which brings libtpu",
    'cuda': "pip install 'lst[plan]', which brings jax-cuda13-plugin",
}


def devices(topology: str) -> tuple[Chip, list]:
  """The chip of a topology, and its devices to compile for.

  Args:
    topology: 'v5e:2x2', 'v6e:1x1', 'h100', ... A GPU is one device.

  Raises:
    ValueError: no such topology.
    RuntimeError: the compiler for it is not installed.
  """
  name, _, grid = topology.partition(':')
  if name not in CHIPS or not re.fullmatch(r'(\d+x\d+)?', grid):
    raise ValueError(
        f'--topology={topology!r} is none that is known: write CHIP or '
        f'CHIP:ROWSxCOLUMNS, with a chip of {", ".join(CHIPS)}')
  chip = CHIPS[name]
  try:
    return chip, _described(chip, name, grid)
  except (RuntimeError, NotImplementedError) as error:
    raise RuntimeError(
        f'nothing here compiles for {topology} ({error}): '
        f'{_NEEDS[chip.platform]}') from error


def _described(chip: Chip, name: str, grid: str) -> list:
  from jax.experimental import topologies
  # Nothing runs here; the plugin for cards looks for a driver when it is
  # loaded, and without one may end the process.
  os.environ.setdefault('JAX_SKIP_CUDA_CONSTRAINTS_CHECK', '1')
  if not jax.config.jax_platforms:
    jax.config.update('jax_platforms', 'cpu')
  if chip.platform == 'cuda':
    return topologies.get_topology_desc(
        name, platform='cuda', topology='1x1x1',
        target_config=chip.kind).devices[:1]
  # Without these libtpu looks for the machine it would run on.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', f'{chip.kind}-4')
  # There is no chip that others could be using.
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  # The smallest host has four chips; fewer of them are taken of it.
  found = topologies.get_topology_desc(f'{name}:2x2', platform='tpu').devices
  rows, columns = map(int, (grid or '1x1').split('x'))
  if rows * columns > 4:
    found = topologies.get_topology_desc(
        f'{name}:{grid}', platform='tpu').devices
  return found[:rows * columns]


