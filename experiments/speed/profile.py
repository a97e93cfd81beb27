"""Where the time of a side step goes: its operations, by the part they are of.

    python -m experiments.speed.profile [--out=DIR] [--model=B/16] [--batch=64]
        [--runs 1 24]

The step of `floor.py` under XLA's own profiler, and that of a sweep of so many
runs. Each operation of the compiled program is of the part whose scope its name
carries; `other` are the classifier, in a sweep the optimiser, and what XLA put
in between. Times are of all threads.
"""

import argparse
import collections
import csv
import itertools
import pathlib
import re
import tempfile

import jax
import numpy as np

from experiments.speed import cases, floor, lst_cases
from lst import Features, LowRank, SideNetwork, data

PARTS = ('taps', 'mixing', 'activation', 'weights', 'pool')
FIELDS = ('model', 'dtype', 'batch', 'rank', 'runs', 'part', 'direction',
          'kind', 'ops', 'ms')
# Operations whose time is that of others inside them.
OUTER = re.compile(r'while|call|conditional')


def scopes(text: str) -> dict[str, tuple[str, str]]:
  """{operation: (part, direction)} of an optimised HLO module."""
  found = {}
  for line in text.splitlines():
    named = re.match(r'\s*(?:ROOT )?%?([\w.-]+) = ', line)
    scope = re.search(r'op_name="([^"]*)"', line)
    if named and not OUTER.match(named[1]):
      path = scope[1] if scope else ''
      part = next((p for p in PARTS if f'/{p}/' in path), 'other')
      back = 'backward' if 'transpose(' in path else 'forward'
      found[named[1]] = part, back
  return found


def kind(name: str) -> str:
  """Products, or what is between them."""
  return 'product' if re.match(r'ynn_fusion|dot', name) else 'elementwise'


def durations(run, rounds: int) -> tuple[dict, dict]:
  """Milliseconds and events of a call, by the name of the operation."""
  for _ in range(2):
    jax.block_until_ready(run())
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      for _ in range(rounds):
        jax.block_until_ready(run())
    path, = pathlib.Path(folder).rglob('*.xplane.pb')
    data = jax.profiler.ProfileData.from_file(str(path))
    time, events = collections.Counter(), collections.Counter()
    for plane in data.planes:
      for line in plane.lines:
        for event in line.events:
          time[event.name] += event.duration_ns / 1e6 / rounds
          events[event.name] += 1
  return time, {name: n // rounds for name, n in events.items()}


def sweep_step(shape: floor.Shape, given: Features, runs: int) -> floor.Step:
  """The step of all runs of a sweep."""
  network = SideNetwork(
      LowRank(rank=shape.rank, residual='running'), classes=cases.CLASSES,
      pool='cls')
  taps, norm = jax.jit(network.prepare)(given)
  params = [network.init(jax.random.key(k), Features(taps, norm),
                         method='readout') for k in range(runs)]

  def predict(params, norm, taps):
    return network.apply(params, Features(taps, norm), method='readout')

  sweep = lst_cases.sweep_of(predict, params, norm, taps, shape.batch)
  label = np.arange(shape.batch, dtype=np.int32) % cases.CLASSES
  batch = data.Batch(taps, label, np.ones(shape.batch, np.float32))
  return floor.Step(
      sweep.take, (sweep.runs, norm, batch, sweep.rates, sweep.decays))


def measure(
    model: str, dtype: str, batch: int, rank: int, runs: int, rounds: int
) -> list[dict]:
  """Rows of `FIELDS`, the dearest part first."""
  shape = floor.shape_of(model, batch, rank)
  given = floor.features(shape, floor.DTYPES[dtype])
  run = (floor.side_step(shape, given) if runs == 1
         else sweep_step(shape, given, runs))
  parts = scopes(run.program())
  time, events = durations(run, rounds)
  sums = collections.defaultdict(lambda: [0, 0.0])
  for op in parts.keys() & time.keys():
    entry = sums[*parts[op], kind(op)]
    entry[0] += events[op]
    entry[1] += time[op]
  return [
      dict(zip(FIELDS, (
          model, dtype, batch, rank, runs, *key, ops, round(ms, 2)),
          strict=True))
      for key, (ops, ms) in sorted(sums.items(), key=lambda x: -x[1][1])]


def main() -> None:
  """Measures and prints; writes DIR/profile.csv."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path)
  parser.add_argument('--model', default='B/16')
  parser.add_argument('--batch', type=int, default=cases.BATCH)
  parser.add_argument('--rank', type=int, default=cases.RANK)
  parser.add_argument('--runs', type=int, nargs='+', default=(1, 24))
  parser.add_argument('--rounds', type=int, default=5)
  args = parser.parse_args()
  rows = []
  for runs, dtype in itertools.product(args.runs, floor.DTYPES):
    more = measure(
        args.model, dtype, args.batch, args.rank, runs, args.rounds)
    for row in more:
      print(', '.join(f'{k} {v}' for k, v in row.items()), flush=True)
    rows += more
  if args.out:
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / 'profile.csv').open('w', newline='') as file:
      writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
      writer.writeheader()
      writer.writerows(rows)


if __name__ == '__main__':
  main()
