"""The machine: what workers find in their environment, and what it is called.

The matrix library of PyTorch's wheels (MKL) takes its AVX-512 path for f32 on
processors of Intel alone; on others it runs at half the rate. A library of one
function, put ahead of the others, tells it to take that path anywhere: the peer
gets it, where a C compiler is at hand.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'torch', 'timm',
            'transformers', 'peft')
# glibc gives large blocks back after each use; kept, in huge pages, neither
# framework pays for their pages anew in each step.
MALLOC = ('glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=17179869184:'
          'glibc.malloc.mmap_threshold=4294967296:glibc.malloc.mmap_max=0')
SOURCE = 'int mkl_serv_intel_cpu_true(void) { return 1; }\n'


def processor() -> str:
  """Vendor and model of the processor, as Linux tells."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return platform.processor() or 'unknown'
  facts = dict(line.split(':', 1) for line in lines if ':' in line)
  facts = {key.strip(): value.strip() for key, value in facts.items()}
  return ' '.join(facts.get(key, '?') for key in (
      'vendor_id', 'model name', 'cpu family', 'model'))


def full_speed_mkl(out: pathlib.Path) -> str:
  """Path of the library that lets MKL take AVX-512, or ''."""
  flags = pathlib.Path('/proc/cpuinfo')
  if not (flags.exists() and 'avx512f' in flags.read_text()
          and 'GenuineIntel' not in processor() and shutil.which('cc')):
    return ''
  path = (out / 'mkl_avx512.so').resolve()
  subprocess.run(
      ['cc', '-shared', '-fPIC', '-x', 'c', '-', '-o', str(path)],
      input=SOURCE, text=True, check=True)
  return str(path)


def environment(
    framework: str, device: str, out: pathlib.Path
) -> dict[str, str]:
  """Variables of a worker, beyond those of this process."""
  cores = str(len(os.sched_getaffinity(0)))
  if framework == 'lst':
    return {'GLIBC_TUNABLES': MALLOC,
            'JAX_PLATFORMS': 'cpu' if device == 'cpu' else 'cuda',
            'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
  env = {'GLIBC_TUNABLES': MALLOC, 'OMP_NUM_THREADS': cores,
         'TORCHINDUCTOR_COMPILE_THREADS': '1', 'HF_HUB_OFFLINE': '1'}
  library = full_speed_mkl(out) if device == 'cpu' else ''
  return {**env, 'LD_PRELOAD': library} if library else env


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return 'not installed'


def _commit() -> str:
  found = subprocess.run(
      ['git', 'rev-parse', 'HEAD'], cwd=pathlib.Path(__file__).parent,
      capture_output=True, text=True, check=False)
  return found.stdout.strip() or 'unknown'


def _gpu() -> str:
  if not shutil.which('nvidia-smi'):
    return 'none'
  return subprocess.run(
      ['nvidia-smi', '--query-gpu=name,driver_version',
       '--format=csv,noheader'],
      capture_output=True, text=True, check=False).stdout.strip()


def write_versions(args, envs: dict[str, dict]) -> None:
  """versions.json: packages, machine, settings; beside the results."""
  facts = {
      'python': platform.python_version(), 'commit': _commit(),
      **{name: _version(name) for name in PACKAGES},
      'processor': processor(), 'cores': len(os.sched_getaffinity(0)),
      'memory_gib': round(
          os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2 ** 30),
      'gpu': _gpu(),
      'environment': {
          name: {k: pathlib.Path(v).name if k == 'LD_PRELOAD' else v
                 for k, v in env.items()} for name, env in envs.items()},
      'settings': {k: v for k, v in vars(args).items() if k != 'out'},
  }
  (args.out / 'versions.json').write_text(json.dumps(facts, indent=2) + '\n')
