"""One case in a process of its own: it does as the lines on its input say.

    python -m experiments.speed.worker CASE_AS_JSON

Lines in and out are JSON. {"steps": n, "warm": m} makes m steps untimed and n
timed, and answers {"ms": [...]}; {"peak": true} answers {"peak_mib": ...}. An
error answers {"error": ...} and ends the process.
"""

import ctypes
import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback

from experiments.speed.cases import Case

MODULES = {'lst': 'experiments.speed.lst_cases',
           'torch': 'experiments.speed.torch_cases'}


def rest() -> None:
  """Gives free memory back, so that those who wait leave it to the others."""
  gc.collect()
  if sys.platform == 'linux':
    ctypes.CDLL('libc.so.6').malloc_trim(0)


def timed(step, warm: int, steps: int) -> list[float]:
  """Milliseconds of each of `steps` steps, after `warm` untimed ones."""
  for _ in range(warm):
    step()
  out = []
  for _ in range(steps):
    start = time.perf_counter()
    step()
    out.append((time.perf_counter() - start) * 1e3)
  return out


def peak_mib(module, case: Case) -> float:
  """Of the GPU's allocator, or the whole process's resident memory."""
  found = module.peak_mib(case)
  if found is None:
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 10
  return found


def serve(case: Case, lines, answer) -> None:
  """Builds the case, says so, then does what the lines ask."""
  module = importlib.import_module(MODULES[case.framework])
  started = time.perf_counter()
  step = module.build(case)
  answer({'ready': True, 'build_s': time.perf_counter() - started})
  for line in lines:
    order = json.loads(line)
    if order.get('peak'):
      answer({'peak_mib': peak_mib(module, case)})
      continue
    ms = timed(step, order['warm'], order['steps'])
    rest()
    answer({'ms': ms})


def main() -> None:
  """Answers on the standard output; what libraries print goes elsewhere."""
  out = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)

  def answer(content):
    print(json.dumps(content), file=out, flush=True)

  try:
    serve(Case(**json.loads(sys.argv[1])), sys.stdin, answer)
  except Exception as error:
    traceback.print_exc()
    answer({'error': f'{type(error).__name__}: {error}'})
    sys.exit(1)


if __name__ == '__main__':
  main()
