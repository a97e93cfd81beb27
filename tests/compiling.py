"""How the programs of tests are compiled: in little time, or as users do it.

Most of what a tiny test costs is XLA. With few optimisations, in one part and
without the fusion emitters of CPUs, a training step of a tiny backbone
compiles in a sixth of the time. Operations, and so the FLOPs that are counted,
stay the same; bits of two programs that have to agree, and memory, are for
programs as users have them, as is many a product in bf16.
"""

import collections
import functools

import jax
from jax._src import compiler

_QUICK = {'xla_cpu_parallel_codegen_split_count': 1}
if jax.__version_info__ < (0, 11):
  # Newer ones have no other way and refuse the option.
  _QUICK['xla_cpu_use_fusion_emitters'] = False
# The same for a Python that is started: what its environment has beside ours.
ENVIRONMENT = {
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    'XLA_FLAGS': ' '.join(
        f'--{name}={str(value).lower()}' for name, value in _QUICK.items())}
# Where in the code an operation comes from, nobody looks up here, and writing
# it down is a tenth of the way to a program.
jax.config.update('jax_include_full_tracebacks_in_locations', False)
jax.config.update('jax_traceback_in_locations_limit', 0)
# Compiled programs that a process keeps.
KEPT = 1000
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


class Programs(collections.OrderedDict):
  """Compiled programs of this process by JAX's key of what they are made of.

  The cache on disk gives back what took long to compile; of what did not,
  writing and reading it would take as long as compiling it again.
  """

  def reading(self, plain):
    """`plain(name, key, ...) -> (program, seconds)`, looked up here first."""
    @functools.wraps(plain)
    def read(name, key, options, backend, devices, *rest):
      if (key, devices) not in self:
        found = plain(name, key, options, backend, devices, *rest)
        return found if found[0] is None else (
            self._keep(found[0], key, devices), found[1])
      self.move_to_end((key, devices))
      return self[key, devices], 0

    return read

  def compiling(self, plain):
    """`plain(...) -> program`, which is kept unless it calls the host."""
    @functools.wraps(plain)
    def compiled(backend, module, devices, options, callbacks, name, key,
                 *rest):
      out = plain(
          backend, module, devices, options, callbacks, name, key, *rest)
      return out if callbacks else self._keep(out, key, devices)

    return compiled

  def _keep(self, program, key, devices):
    self[key, devices] = program
    if len(self) > KEPT:
      self.popitem(last=False)
    return program


# JAX has no setting of its own for this; without it tests only take longer.
if hasattr(compiler, 'get_compile_options'):
  compiler.get_compile_options = _quick_options(compiler.get_compile_options)
if all(hasattr(compiler, name) for name in (
    '_cache_read', '_compile_and_write_cache')):
  _programs = Programs()
  compiler._cache_read = _programs.reading(compiler._cache_read)
  compiler._compile_and_write_cache = _programs.compiling(
      compiler._compile_and_write_cache)
