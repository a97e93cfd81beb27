"""What a step of every method costs, to costs.csv.

    python -m experiments.methods.costs

Each method, with each value of an option that sizes it, runs in a process of
its own, in as many turns as asked for, one after the other in each turn.
`process_mib` is the highest of that process, compiler included; `memory` has
that of the step.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.methods.methods import METHODS, sizes
from experiments.methods.run import config_of

HERE = pathlib.Path(__file__).parent
FIELDS = (
    'method', 'option', 'trainable_params', 'step_flops', 'forward_flops',
    'process_mib', 'step_ms', 'step_ms_min', 'step_ms_max', 'kept_step_ms',
    'size', 'batch', 'device')
# Rows that differ from another's by these fields, and in cost alone.
REMAT = {f'{name} + remat': {'tuning.remat': True}
         for name in ('lora_qv', 'lora_all', 'full')}


def entry_of(name: str):
  """The entry of a method, with or without rematerialised blocks."""
  entry = METHODS[name.partition(' ')[0]]
  return entry._replace(fields=entry.fields | REMAT.get(name, {}))


def cases(names: list[str]) -> list[tuple[str, int]]:
  """(method, which value of its option), the option left as it is first."""
  return [(name, k) for name in names for k in range(
      len(sizes(entry_of(name))))]


def measured(
    name: str, option: int, size: int, repeats: int, weights: str) -> dict:
  """The costs of a method, in this process."""
  import jax

  from lst import build, inputs, report, sharding
  from lst.plan import flops

  entry = entry_of(name)
  config = config_of(entry, entry.option[1][option], size, 10.0, 32)
  config.cache.mode, config.backbone.weights = 'off', weights
  built, batches_of = inputs.open_(config, build.build(config))
  batches = batches_of.train(0)
  batch = sharding.put_batch(next(batches), built.mesh)
  batches.close()
  ready, beside = batches_of.ready(batch), built.method.readout is not None
  times = {
      'step_ms': timed(
          lambda state: built.train_step(
              state, built.frozen, batches_of.ready(batch)),
          built.state, repeats),
      'kept_step_ms': timed(
          lambda state: built.train_step(state, built.frozen, ready),
          built.state, repeats) if beside else []}
  forward = flops.count(built.backbone.apply, built.weights, batch.inputs)
  of_step = flops.count(built.train_step, built.state, built.frozen, ready)
  return times | {
      'trainable_params': report.count(built.state.params),
      # Features are made by a program of their own.
      'step_flops': of_step + forward * beside,
      'forward_flops': forward,
      'process_mib': round(report.peak_memory() / 2**20),
      'size': size, 'batch': len(batch.inputs),
      'device': jax.devices()[0].device_kind}


def timed(step: Callable, state: Any, repeats: int) -> list[float]:
  """Milliseconds of each step, (state) -> (state, sums); after two others."""
  import jax

  # A step uses its state up.
  out, state = [], jax.tree.map(jax.numpy.copy, state)
  for _ in range(repeats + 2):
    began = time.perf_counter()
    state, _ = jax.block_until_ready(step(state))
    out.append(1e3 * (time.perf_counter() - began))
  return out[2:]


def row(name: str, option: int, turns: list[dict]) -> dict:
  """The line of a method, from its turns."""
  steps = [ms for turn in turns for ms in turn['step_ms']]
  kept = [ms for turn in turns for ms in turn['kept_step_ms']]
  return turns[0] | {
      'method': name, 'option': sizes(entry_of(name))[option],
      'process_mib': max(turn['process_mib'] for turn in turns),
      'step_ms': round(statistics.median(steps), 2),
      'step_ms_min': round(min(steps), 2), 'step_ms_max': round(max(steps), 2),
      'kept_step_ms': round(statistics.median(kept), 2) if kept else ''}


def main(argv: list[str] | None = None) -> None:
  """Measures all methods and writes the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--methods', nargs='*', default=[*METHODS, *REMAT])
  parser.add_argument('--results', type=pathlib.Path, default=HERE)
  parser.add_argument('--size', type=int, default=32)
  parser.add_argument('--repeats', type=int, default=10)
  parser.add_argument('--turns', type=int, default=3)
  parser.add_argument('--weights', default='embedded')
  parser.add_argument('--one', help='measures this one, and prints it')
  parser.add_argument('--option', type=int, default=0, help='of its two')
  args = parser.parse_args(argv)
  if args.one:
    print(json.dumps(measured(
        args.one, args.option, args.size, args.repeats, args.weights)))
    return
  turns: dict[tuple, list] = {case: [] for case in cases(args.methods)}
  for _ in range(args.turns):
    for name, option in turns:
      done = subprocess.run(
          [sys.executable, '-m', 'experiments.methods.costs', f'--one={name}',
           f'--option={option}', f'--size={args.size}',
           f'--repeats={args.repeats}', f'--weights={args.weights}'],
          check=True, capture_output=True, text=True, timeout=1200)
      of = turns[name, option]
      of.append(json.loads(done.stdout.splitlines()[-1]))
      print(name, row(name, option, of), flush=True)
  with (args.results / 'costs.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(row(*case, of) for case, of in turns.items())


if __name__ == '__main__':
  main()
