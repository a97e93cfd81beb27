"""Which processes a job has, as flags or the environment of a scheduler say."""

from collections.abc import Mapping
from typing import Any

PORT = 8476


class HostsError(Exception):
  """What kept the processes of a job from starting, or going on, together."""


def asked(
    env: Mapping[str, str], coordinator: str = '', process: int = -1,
    processes: str = '',
) -> dict[str, Any] | None:
  """What `jax.distributed.initialize` is to be called with.

  Args:
    env: of the process.
    coordinator, process, processes: the flags of `python -m lst.main`.

  Returns:
    Its arguments, {} where JAX finds them by itself (SLURM, a TPU pod), or
    None of a job of one process.

  Raises:
    HostsError: something is missing.

  >>> asked({}), asked({'SLURM_NTASKS': '4', 'SLURM_PROCID': '0'})
  (None, {})
  >>> asked({}, '10.0.0.1:8476', 1, '2')['num_processes']
  2
  """
  if processes == 'auto':
    return {}
  if coordinator or processes or process >= 0:
    return _explicit(coordinator, process, processes, 'the flags')
  for find in _ENVIRONMENTS:
    found = find(env)
    if found is not None:
      return found
  return None


def _explicit(coordinator, process, processes, where) -> dict[str, Any] | None:
  try:
    index, count = int(process), int(processes)
  except ValueError:
    index, count = -1, 0
  if count == 1:
    return None
  if not coordinator or not 0 <= index < count:
    raise HostsError(
        f'{where} name coordinator {coordinator!r}, process {process} of '
        f'{processes!r}: a job of N processes needs HOST:PORT of process 0, '
        'a process from 0 to N - 1, and N')
  if ':' not in coordinator:
    coordinator = f'{coordinator}:{PORT}'
  return dict(
      coordinator_address=coordinator, num_processes=count, process_id=index)


def _jax(env):
  """JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID and JAX_NUM_PROCESSES."""
  if 'JAX_NUM_PROCESSES' not in env:
    return None
  return _explicit(
      env.get('JAX_COORDINATOR_ADDRESS', ''), env.get('JAX_PROCESS_ID', -1),
      env['JAX_NUM_PROCESSES'], 'JAX_* of the environment')


def _slurm(env):
  """A step of several tasks, as `srun` starts it."""
  tasks = env.get('SLURM_STEP_NUM_TASKS', env.get('SLURM_NTASKS', '1'))
  return {} if 'SLURM_PROCID' in env and tasks != '1' else None


def _tpu(env):
  """A TPU slice of several hosts on GKE, or several slices."""
  hosts = env.get('TPU_WORKER_HOSTNAMES', '')
  many = ',' in hosts or env.get('MEGASCALE_NUM_SLICES', '1') != '1'
  return {} if 'TPU_WORKER_ID' in env and many else None


def _sky(env):
  """SkyPilot's nodes."""
  if env.get('SKYPILOT_NUM_NODES', '1') == '1':
    return None
  first = env.get('SKYPILOT_NODE_IPS', '').split('\n')[0].strip()
  return _explicit(
      first, env.get('SKYPILOT_NODE_RANK', -1), env['SKYPILOT_NUM_NODES'],
      'SKYPILOT_* of the environment')


_ENVIRONMENTS = (_jax, _slurm, _tpu, _sky)
