"""How the programs of tests are compiled: in little time, or as users do it.

Most of what a tiny test costs is XLA. With few optimisations, in one part and
without the fusion emitters of CPUs, a training step of a tiny backbone
compiles in a sixth of the time. Operations, and so the FLOPs that are counted,
stay the same; bits of two programs that have to agree, and memory, are for
programs as users have them, as is many a product in bf16.
"""

import functools

import jax
from jax._src import compiler

_QUICK = {
    'xla_cpu_use_fusion_emitters': False,
    'xla_cpu_parallel_codegen_split_count': 1}
# The same for a Python that is started: what its environment has beside ours.
ENVIRONMENT = {
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    'XLA_FLAGS': ' '.join(
        f'--{name}={str(value).lower()}' for name, value in _QUICK.items())}
_quickly = False


def quickly(on: bool) -> None:
  """Has what is compiled from now on compiled quickly, or as users have it."""
  global _quickly
  if on == _quickly:
    return
  _quickly = on
  jax.config.update('jax_disable_most_optimizations', on)
  # Or a function that both kinds of tests call would be what the first made.
  jax.clear_caches()


def _quick_options(plain):
  @functools.wraps(plain)
  def options(*args, **kwargs):
    out = plain(*args, **kwargs)
    platform = getattr(kwargs.get('backend'), 'platform', '')
    # Compilers for devices that are not there know no options of CPUs.
    if _quickly and platform == 'cpu':
      out.env_option_overrides = [
          *out.env_option_overrides, *_QUICK.items()]
    return out

  return options


# JAX has no setting of its own for this; without it tests only take longer.
if hasattr(compiler, 'get_compile_options'):
  compiler.get_compile_options = _quick_options(compiler.get_compile_options)
