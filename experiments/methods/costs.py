"""What a step of every method costs, to costs.csv.

    python -m experiments.methods.costs

Each method runs in a process of its own, for its peak of memory, in as many
turns as asked for, one method after the other in each turn.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import time

from experiments.methods.methods import METHODS
from experiments.methods.run import config_of

HERE = pathlib.Path(__file__).parent
FIELDS = (
    'method', 'trainable_params', 'step_flops', 'forward_flops', 'peak_mib',
    'step_ms', 'step_ms_min', 'step_ms_max', 'kept_step_ms', 'size', 'batch',
    'device')
# Rows that differ from another's by these fields, and in cost alone.
REMAT = {f'{name} + remat': {'tuning.remat': True}
         for name in ('lora_qv', 'lora_all', 'full')}


def entry_of(name: str):
  """The entry of a method, with or without rematerialised blocks."""
  entry = METHODS[name.partition(' ')[0]]
  return entry._replace(fields=entry.fields | REMAT.get(name, {}))


def measured(name: str, size: int, repeats: int, weights: str) -> dict:
  """The costs of a method, in this process."""
  import jax

  from lst import build, inputs, report, sharding
  from lst.plan import flops

  entry = entry_of(name)
  config = config_of(entry, entry.option[1][0], size, 30.0)
  config.cache.mode, config.backbone.weights = 'off', weights
  built, batches_of = inputs.open_(config, build.build(config))
  batches = batches_of.train(0)
  batch = sharding.put_batch(next(batches), built.mesh)
  batches.close()
  state, frozen = built.state, built.frozen

  def timed(step, state):
    began = time.perf_counter()
    state, _ = jax.block_until_ready(step(state))
    return 1e3 * (time.perf_counter() - began), state

  def online(state):
    return built.train_step(state, frozen, batches_of.ready(batch))

  ready = batches_of.ready(batch)
  times = {'step_ms': [], 'kept_step_ms': []}
  for _ in range(repeats + 2):
    ms, state = timed(online, state)
    times['step_ms'].append(ms)
    if built.method.readout:
      ms, state = timed(lambda s: built.train_step(s, frozen, ready), state)
      times['kept_step_ms'].append(ms)
  image = batch.inputs
  forward = flops.count(built.backbone.apply, built.weights, image)
  of_step = flops.count(built.train_step, state, frozen, ready)
  if built.method.readout and not batches_of.online:
    raise RuntimeError('the features come from a cache')
  return {
      'trainable_params': report.count(state.params),
      'step_flops': of_step + forward * (ready is not batch),
      'forward_flops': forward,
      'peak_mib': round(report.peak_memory() / 2**20),
      **{k: v[2:] for k, v in times.items()},
      'size': size, 'batch': len(image),
      'device': jax.devices()[0].device_kind}


def row(name: str, turns: list[dict]) -> dict:
  """The line of a method, from its turns."""
  steps = [ms for turn in turns for ms in turn['step_ms']]
  kept = [ms for turn in turns for ms in turn['kept_step_ms']]
  return turns[0] | {
      'method': name, 'peak_mib': max(turn['peak_mib'] for turn in turns),
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
  args = parser.parse_args(argv)
  if args.one:
    print(json.dumps(measured(
        args.one, args.size, args.repeats, args.weights)))
    return
  turns: dict[str, list] = {name: [] for name in args.methods}
  for _ in range(args.turns):
    for name in args.methods:
      done = subprocess.run(
          [sys.executable, '-m', 'experiments.methods.costs', f'--one={name}',
           f'--size={args.size}', f'--repeats={args.repeats}',
           f'--weights={args.weights}'],
          check=True, capture_output=True, text=True, timeout=1200)
      turns[name].append(json.loads(done.stdout.splitlines()[-1]))
      print(name, row(name, turns[name]), flush=True)
  with (args.results / 'costs.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(row(name, of) for name, of in turns.items())


if __name__ == '__main__':
  main()
