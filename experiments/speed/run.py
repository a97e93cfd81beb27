"""The benchmark: ours and the peers on one machine, in turns, to CSV and plots.

    python -m experiments.speed.run --out=DIR [--device=gpu] [--quick]
"""

import argparse
import csv
import pathlib
from typing import NamedTuple

from experiments.speed import cases, machine, plot, results
from experiments.speed.processes import Failed, Worker

# Seconds of timed steps a case makes in one turn, and how many at most.
TURN_S, MOST_STEPS = 2.0, 20


class Log(NamedTuple):
  """samples.csv, written as it comes in."""

  writer: csv.DictWriter
  file: object

  def add(self, case: cases.Case, kind: str, turn: int, value) -> None:
    """One measured value: kind is step_ms, peak_mib, build_s or failed."""
    self.writer.writerow({
        'device': case.device, 'framework': case.framework,
        'method': case.method, 'model': case.model, 'dtype': case.dtype,
        'batch': case.batch, 'images': case.images, 'kind': kind,
        'round': turn, 'value': value})
    self.file.flush()
    print(case.name, case.model, case.dtype, kind, value, flush=True)


def peak(case: cases.Case, env: dict, log: Log) -> bool:
  """Two steps in a fresh process with nobody beside; False where it fails."""
  try:
    with Worker(case, env) as worker:
      log.add(case, 'build_s', 0, round(worker.build_s, 1))
      worker.steps(1, warm=1)
      log.add(case, 'peak_mib', 0, round(worker.peak_mib()))
    return True
  except Failed as error:
    log.add(case, 'failed', 0, error)
    return False


def take_turns(
    group: list[cases.Case], envs: dict, rounds: int, log: Log
) -> None:
  """Each round every case makes a few timed steps while the others wait."""
  workers, counts = {}, {}
  try:
    for case in group:
      workers[case] = Worker(case, envs[case.framework])
    for turn in range(rounds + 1):
      for case, worker in list(workers.items()):
        try:
          ms = worker.steps(counts.get(case, 1), warm=1)
        except Failed as error:
          log.add(case, 'failed', turn, error)
          workers.pop(case).close()
          continue
        count = round(TURN_S * 1e3 / max(min(ms), 1e-3))
        counts[case] = min(max(count, 1), MOST_STEPS)
        for value in ms if turn else ():  # Round 0 only finds the counts.
          log.add(case, 'step_ms', turn, round(value, 3))
  finally:
    for worker in workers.values():
      worker.close()


def measure(args, envs, log: Log) -> None:
  """All groups: peak memory of each case alone, then the turns."""
  fields = dict(batch=args.batch, images=args.images, compiled=args.compiled)
  for group in cases.plan(
      args.device, args.models, args.dtypes, args.methods, **fields):
    fit = [case for case in group if peak(case, envs[case.framework], log)]
    # Workers wait beside each other: a smaller cache, gathered from alike.
    few = [case._replace(images=min(args.images, args.turn_images))
           for case in fit]
    take_turns(few, envs, args.rounds, log)


def flags():
  """What the command line says."""
  parser = argparse.ArgumentParser(description=__doc__)
  add = parser.add_argument
  add('--out', type=pathlib.Path, required=True)
  add('--device', choices=('cpu', 'gpu'), default='cpu')
  add('--models', nargs='+', choices=cases.MODELS['gpu'])
  add('--dtypes', nargs='+', choices=cases.DTYPES, default=cases.DTYPES)
  add('--methods', nargs='+', default=(), help='all of cases.METHODS')
  add('--rounds', type=int, default=5)
  add('--batch', type=int, default=cases.BATCH)
  add('--images', type=int, default=cases.TASK_IMAGES,
      help='in a cache, for its peak memory')
  add('--turn_images', type=int, default=128, help='in a cache, for its time')
  add('--eager', dest='compiled', action='store_false',
      help='peers without torch.compile')
  add('--quick', action='store_true', help='a minute, to see that it runs')
  args = parser.parse_args()
  args.models = args.models or cases.MODELS[args.device]
  if args.quick:
    args.models, args.dtypes, args.rounds = ('S/16',), ('bfloat16',), 1
    args.batch, args.images, args.compiled = 4, 8, False
  return args


def main() -> None:
  """Measures, then writes results.csv, spread.csv, versions.json and plots."""
  args = flags()
  args.out.mkdir(parents=True, exist_ok=True)
  envs = {framework: machine.environment(framework, args.device, args.out)
          for framework in ('lst', 'torch')}
  machine.write_versions(args, envs)
  with (args.out / 'samples.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, results.SAMPLE_FIELDS, lineterminator='\n')
    writer.writeheader()
    measure(args, envs, Log(writer, file))
  rows = results.write(args.out)
  plot.draw(rows, args.out)
  print(results.table(rows))


if __name__ == '__main__':
  main()
