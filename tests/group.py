"""Several processes on one machine as one job: `python -m tests.group`."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys

import jax

from tests import commands, compiling, runs

DEVICES = 4
# Name -> what the run of this name changes in `runs.config`.
CASES = {
    'off': {'cache.mode': 'off'},
    'disk': {'cache.mode': 'disk'},
    'ram': {'cache.mode': 'ram'},
    'fsdp': {'cache.mode': 'off', 'mesh.fsdp': 2, 'mesh.min_size': 512},
    'sweep': {'cache.mode': 'off', 'sweep.lr': (1e-2, 3e-3)},
    'tasks': {'cache.mode': 'disk'},
}


def config(weights: str, name: str, cache: pathlib.Path):
  """Twelve steps on 60 images, with validation and test padded."""
  out = runs.config(
      weights, epochs=3.2, eval_epochs=1.6, log_steps=1, checkpoint_steps=4)
  out.cache.path, out.optimizer.lr = str(cache), 1e-2
  out.update_from_flattened_dict(CASES[name])
  if name == 'tasks':
    from lst import config as config_lib
    for task, train in (('a', out.data.train), ('b', 'train[100:150]')):
      out.tasks[task] = config_lib.data()
      out.tasks[task].update(out.data)
      out.tasks[task].train = train
    out.data.update(config_lib.data())
  return out


def run(weights: str, name: str, folder: pathlib.Path, cache: pathlib.Path):
  """One run of that name in `folder`/name."""
  from lst import sweep, tasks, train
  parts = {'sweep': sweep, 'tasks': tasks}
  return parts.get(name, train).run(
      config(weights, name, cache), folder / name)


def port() -> int:
  """A port that is free now."""
  with contextlib.closing(socket.socket()) as free:
    free.bind(('127.0.0.1', 0))
    return free.getsockname()[1]


def environment(index: int, count: int, port: int) -> dict[str, str]:
  """Of one process of `count`, as a scheduler sets it."""
  return {
      **os.environ, 'PYTHONPATH': str(runs.ROOT), 'PYTHON': sys.executable,
      'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}',
      'JAX_PROCESS_ID': str(index), 'JAX_NUM_PROCESSES': str(count),
      'JAX_NUM_CPU_DEVICES': str(DEVICES // count),
      **compiling.ENVIRONMENT, 'XLA_FLAGS': ' '.join((
          compiling.ENVIRONMENT['XLA_FLAGS'],
          '--xla_cpu_multi_thread_eigen=false'))}


def script(*flags, **beside: str) -> subprocess.Popen:
  """The command of a job as it is given on a host, of one process.

  `beside` is what its environment has beside.
  """
  return subprocess.Popen(
      [runs.ROOT / 'launch' / 'run.sh', *flags], cwd=runs.ROOT,
      env=environment(0, 1, port()) | beside, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def start(count: int, module: str, *arguments) -> list:
  """`python -m module arguments` as so many forked processes of one job."""
  at = port()
  return [
      commands.Command(
          module, *arguments, cwd=runs.ROOT, devices=DEVICES // count,
          env=environment(index, count, at))
      for index in range(count)]


def main(weights: str, folder: str, cache: str, *names: str) -> None:
  """One process: the runs of these names, one after the other."""
  from lst import hosts
  hosts.start(hosts.asked(os.environ), config(weights, 'off', '').mesh)
  assert jax.device_count() == DEVICES
  with hosts.together():
    for name in names:
      run(weights, name, pathlib.Path(folder), pathlib.Path(cache))
  hosts.part()


if __name__ == '__main__':
  main(*sys.argv[1:])
