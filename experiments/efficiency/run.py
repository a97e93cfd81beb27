"""Time and memory of a step of every method, model by model, on one device.

    python -m experiments.efficiency.run --out=DIR [--rehearse]

Each case runs in a process of its own with a time-out: one that runs out of
memory is a row and not the end. The same command goes on where it stopped.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

from experiments.efficiency import cases, plot, results, targets
from experiments.efficiency.cases import Case
from experiments.speed import machine

STEPS = 10
SAMPLES = 'samples.jsonl'


def environment(args, case: Case) -> dict[str, str]:
  """Variables of a worker, beyond those of this process."""
  env = {
      'JAX_COMPILATION_CACHE_DIR': str(args.out.absolute() / 'compiled'),
      'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
  if case.cap_gib:
    share = case.cap_gib / args.device_gib
    env['XLA_PYTHON_CLIENT_MEM_FRACTION'] = f'{share:.4f}'
  return env


def ask(args, case: Case, turn: int) -> dict:
  """What a worker found of a case: its lines in one, and how it ended."""
  command = [
      sys.executable, '-m', 'experiments.efficiency.worker',
      json.dumps(case._asdict()), '--steps', str(args.steps),
      '--most', str(args.most), *(['--first'] if turn == 0 else [])]
  ended = ''
  try:
    done = subprocess.run(
        command, capture_output=True, timeout=args.timeout, check=False,
        env={**os.environ, **environment(args, case)})
    out, said, status = done.stdout, done.stderr, done.returncode
  except subprocess.TimeoutExpired as error:
    out, said, status = error.stdout or b'', error.stderr or b'', 0
    ended = f'ended after {args.timeout:g} s'
  found = {}
  for line in out.decode().splitlines():
    found |= json.loads(line)
  if status:
    # The line of an error in Python; of a kill, how the system names it.
    lines = [line for line in said.decode(errors='replace').splitlines()
             if 'Error' in line or 'RESOURCE_EXHAUSTED' in line]
    ended = (lines or [f'status {status}'])[-1][:300]
  return {**case._asdict(), 'turn': turn, 'ended': ended, **found}


def samples(path: pathlib.Path) -> list[dict]:
  """What is there of an earlier call; a half-written last line is left out."""
  if not path.exists():
    return []
  out = []
  for line in path.read_text().splitlines():
    try:
      out.append(json.loads(line))
    except ValueError:
      continue
  return out


def key(case: Case, turn: int) -> tuple:
  """That tells samples apart."""
  return (*case, turn)


def measure(args, groups: list[list[Case]]) -> None:
  """All groups: their cases in turns, each turn a process."""
  path = args.out / SAMPLES
  there = {key(Case(*(s[k] for k in Case._fields)), s['turn']): s
           for s in samples(path)}
  with path.open('a') as file:
    for group in groups:
      for turn in range(args.rounds):
        for case in group:
          first = there.get(key(case, 0))
          if key(case, turn) in there or (
              turn and first and 'ms' not in first):
            continue
          found = ask(args, case, turn)
          there[key(case, turn)] = found
          file.write(json.dumps(found) + '\n')
          file.flush()
          print(case.name, f'turn {turn}:', found.get('ms', [])[:3],
                found['ended'], flush=True)


def device_gib() -> float:
  """Memory of the first device, asked for in a process that ends again."""
  found = subprocess.run(
      [sys.executable, '-c',
       'import jax; s = jax.local_devices()[0].memory_stats() or {}; '
       'print(s.get("bytes_limit", 0) / 2**30)'],
      capture_output=True, check=True, text=True,
      env={**os.environ, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
           'XLA_PYTHON_CLIENT_MEM_FRACTION': '1.0'})
  return float(found.stdout.split()[-1])


def flags(argv=None):
  """What the command line says."""
  parser = argparse.ArgumentParser(description=__doc__)
  add = parser.add_argument
  add('--out', type=pathlib.Path, required=True)
  add('--models', nargs='+', default=cases.MODELS)
  add('--methods', nargs='+', choices=cases.METHODS, default=())
  add('--rounds', type=int, default=3)
  add('--steps', type=int, default=STEPS)
  add('--most', type=int, default=4096, help='the largest batch to try')
  add('--timeout', type=float, default=2400.0, help='seconds of a process')
  add('--rehearse', action='store_true',
      help='small models and inputs, to see on a CPU that all of it runs')
  args = parser.parse_args(argv)
  args.works, args.size = cases.WORKS, 224
  if args.rehearse:
    vars(args).update(cases.REHEARSED)
  return args


def main() -> None:
  """Measures, writes the tables and the picture, and checks the targets."""
  args = flags()
  args.out.mkdir(parents=True, exist_ok=True)
  machine.write_versions(args, {})
  args.device_gib = device_gib()
  groups = cases.plan(args.models, args.works, args.methods, args.size)
  # Without an allocator's statistics there is nothing that could be capped.
  capped = cases.capped(args.models, args.size) if args.device_gib else []
  measure(args, groups + capped)
  rows = results.rows(samples(args.out / SAMPLES))
  results.write(args.out / 'results.csv', rows)
  plot.draw(rows, args.rehearse, args.out / 'efficiency.png')
  said = targets.told(targets.check(rows))
  if args.rehearse:
    said = f'REHEARSAL at small size: no target is decided by it\n{said}'
  (args.out / 'targets.txt').write_text(said + '\n')
  print(said)


if __name__ == '__main__':
  main()
