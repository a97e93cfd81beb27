"""What a forked process of a job imports ahead, and does."""

import jax
import orbax.checkpoint  # noqa: F401
import tensorboardX  # noqa: F401
from absl import app

import lst.sweep
import lst.tasks
import lst.train  # noqa: F401
from lst import command
from lst import main as entry
from tests import compiling


def main(flags: list[str], devices: int, compiled: str) -> None:
  """`python -m lst.main`, with so many devices."""
  for name, value in {
      'num_cpu_devices': devices, 'compilation_cache_dir': compiled,
      'persistent_cache_min_compile_time_secs': 0}.items():
    jax.config.update(f'jax_{name}', value)
  compiling.quickly(True)
  app.run(entry.main, ['lst', *flags],
          flags_parser=command.parser(entry._CONFIG))
