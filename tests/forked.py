"""What a forked process imports ahead, and what it is to do first."""

import gc

import jax
import orbax.checkpoint  # noqa: F401
import sklearn.datasets  # noqa: F401
import tensorboardX  # noqa: F401
from absl import app

import lst.cache
import lst.sweep
import lst.tasks
import lst.train  # noqa: F401
from tests import compiling

# What all processes share is looked through by none of them.
gc.freeze()


def prepare(devices: int, compiled: str, quick: bool = True) -> None:
  """Sets devices and compilation, ahead of the first look at a device."""
  jax.config.update('jax_num_cpu_devices', devices)
  if compiled:
    jax.config.update('jax_compilation_cache_dir', compiled)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  compiling.quickly(quick)


def main(flags: list[str], devices: int, compiled: str) -> None:
  """`python -m lst.main`, with so many devices."""
  from lst import command
  from lst import main as entry
  prepare(devices, compiled)
  app.run(entry.main, ['lst', *flags],
          flags_parser=command.parser(entry._CONFIG))
