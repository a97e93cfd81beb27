"""What a backbone in 8 or 4 bits costs in accuracy, and wins in time and bytes.

    python -m experiments.quantised.run --out=DIR

LoSA beside the embedded backbone on the digits, three seeds for each kind of
weights; then the forward pass of ViT-B/16 with random weights, all kinds in
turns in one process. What has been trained in DIR is read, not trained again.
"""

import argparse
import csv
import json
import pathlib
import statistics
import time

import jax
import numpy as np

from experiments.quantised import plot
from experiments.speed import machine
from lst import config as config_lib
from lst import sweep
from lst.backbones import backbone as backbones
from lst.plan.programs import nbytes

KINDS = ('none', 'int8', 'fp8', 'int4')
SEEDS = (0, 1, 2)
ACCURACY_FIELDS = ('weights', 'seed', 'accuracy', 'images')
SPEED_FIELDS = ('device', 'model', 'batch', 'weights', 'block_mib',
                'forward_ms', 'q1_ms', 'q3_ms', 'samples')


def called(kind: str) -> str:
  """The name of a kind of weights in tables."""
  return 'bf16' if kind == 'none' else kind


def configured(kind: str, epochs: float):
  """The config of LoSA on the digits, its seeds one sweep."""
  config = config_lib.default()
  # The default when this was measured.
  config.side.residual = 'running'
  # Seen once, after the last step: nothing is chosen by it.
  config.data.val, config.data.test = 'test', ''
  config.backbone.quantise = kind
  config.optimizer.lr, config.optimizer.warmup_epochs = 3e-3, epochs / 10
  config.train.epochs = config.train.eval_epochs = epochs
  config.sweep.seed = SEEDS
  return config


def trained(kind: str, epochs: float, out: pathlib.Path) -> list[dict]:
  """The rows of results.csv of a kind."""
  result = sweep.run(configured(kind, epochs), out / f'digits-{called(kind)}')
  return [
      dict(zip(ACCURACY_FIELDS, (
          called(kind), row['seed'], round(row['val_accuracy'], 4), 797),
          strict=True))
      for row in sorted(result['sweep'], key=lambda row: row['seed'])]


def backbone_of(model: str, kind: str):
  """A backbone with random weights, its forward pass compiled."""
  config = config_lib.default().backbone
  config.weights, config.quantise = f'random:{model}', kind
  config.blocks = 'scan'
  backbone = backbones.build(config)
  return backbone, jax.jit(backbone.states)


def measured(model: str, batch: int, rounds: int) -> list[dict]:
  """The rows of speed.csv: all kinds in turns, a pass each."""
  made = {kind: backbone_of(model, kind) for kind in KINDS}
  size = next(iter(made.values()))[0].image_size
  images = np.random.default_rng(0).integers(
      0, 256, (batch, *size, 3), np.uint8)
  samples = {kind: [] for kind in KINDS}
  for turn in range(rounds + 1):
    for kind, (backbone, forward) in made.items():
      began = time.perf_counter()
      jax.block_until_ready(forward(backbone.frozen, images))
      if turn:  # The first compiles.
        samples[kind].append(1e3 * (time.perf_counter() - began))
  return [_row(model, batch, kind, made[kind][0].frozen['blocks'], values)
          for kind, values in samples.items()]


def _row(model, batch, kind, blocks, values) -> dict:
  q1, median, q3 = statistics.quantiles(values, method='inclusive')
  return dict(zip(SPEED_FIELDS, (
      jax.devices()[0].device_kind, model, batch, called(kind),
      round(nbytes(blocks) / 2**20, 1), round(median, 1), round(q1, 1),
      round(q3, 1), len(values)), strict=True))


def write(path: pathlib.Path, fields, rows: list[dict]) -> None:
  """A CSV file of rows."""
  with path.open('w', newline='') as file:
    writer = csv.DictWriter(file, fields, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)


def main() -> None:
  """Trains, measures, writes both tables, versions.json and the picture."""
  parser = argparse.ArgumentParser(description=__doc__)
  add = parser.add_argument
  add('--out', type=pathlib.Path, required=True)
  add('--epochs', type=float, default=20.0)
  add('--model', default='B/16')
  add('--batch', type=int, default=8)
  add('--rounds', type=int, default=9)
  args = parser.parse_args()
  args.out.mkdir(parents=True, exist_ok=True)
  machine.write_versions(args, {})
  rows = [row for kind in KINDS for row in trained(kind, args.epochs, args.out)]
  write(args.out / 'results.csv', ACCURACY_FIELDS, rows)
  speed = measured(args.model, args.batch, args.rounds)
  write(args.out / 'speed.csv', SPEED_FIELDS, speed)
  plot.draw(rows, speed, args.out / 'quantised.png')
  print(json.dumps(rows + speed, indent=1))


if __name__ == '__main__':
  main()
