"""One case in a process of its own; what it finds, as lines of JSON.

    python -m experiments.efficiency.worker CASE_AS_JSON [--steps N] [--first]

A line for each of: the times of the steps with the peak of memory until then;
with --first also what `lst.plan` expects, and each larger batch that went
through. A process that dies has said what came before.
"""

import argparse
import gc
import json
import os
import resource
import time

import jax

from experiments.efficiency import programs
from experiments.efficiency.cases import Case

# Seconds that larger batches may take, all together.
LARGEST_S = 600.0


def peak_mib() -> tuple[float, str]:
  """Of the allocator, or the process's resident memory; and which it is."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use'] / 2**20, 'allocator'
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 'process'


def timed(run, steps: int) -> list[float]:
  """Milliseconds of each of `steps`, after two untimed ones."""
  run()
  run()
  out = []
  for _ in range(steps):
    began = time.perf_counter()
    run()
    out.append(round(1e3 * (time.perf_counter() - began), 3))
  return out


def largest(case: Case, most: int, answer) -> None:
  """Doubles the batch, which went through, until it does not, or is `most`."""
  answer({'largest': case.batch})
  rows, began = 2 * case.batch, time.monotonic()
  while rows <= most and time.monotonic() - began < LARGEST_S:
    try:
      program = programs.build(case, rows)
      program.run()
    except jax.errors.JaxRuntimeError as error:
      answer({'ended_at': rows, 'why': str(error).partition('\n')[0][:200]})
      return
    answer({'largest': rows})
    del program
    gc.collect()
    rows *= 2


def flags(argv=None):
  """What the command line says."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('case')
  parser.add_argument('--steps', type=int, default=10)
  parser.add_argument('--first', action='store_true')
  parser.add_argument('--most', type=int, default=4096)
  return parser.parse_args(argv)


def serve(args, answer) -> None:
  """Measures a case and calls `answer` with what it finds, as it is found."""
  case = Case(**json.loads(args.case))
  program = programs.build(case)
  ms = timed(program.run, args.steps)
  peak, of = peak_mib()
  answer({
      'ms': ms, 'peak_mib': round(peak, 1), 'peak_of': of,
      'state_mib': round(program.state_mib, 1),
      'device': jax.devices()[0].device_kind})
  if args.first:
    del program
    gc.collect()
    plan = programs.planned_mib(case)
    answer({'plan_mib': plan and round(plan, 1)})
    largest(case, args.most, answer)


def main() -> None:
  """Answers on the standard output; what libraries print goes elsewhere."""
  args = flags()
  out = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)

  def answer(content):
    print(json.dumps(content), file=out, flush=True)

  serve(args, answer)


if __name__ == '__main__':
  main()
