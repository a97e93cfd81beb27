"""The floor of the side step on this device, and how far the step is from it.

    python -m experiments.speed.floor --out=DIR [--model=B/16] [--batch=64]

Everything is measured in turns in one process. The floor is the larger of two
times: reading all taps twice, at the best bandwidth of a sum over them in f32,
and the products of LoSA (4 N D r operations of each tap and image, forward and
backward together) at the best rate that any of a few matrix products reaches.
"""

import argparse
import csv
import math
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.speed import cases
from lst import Features, LowRank, Norm, SideNetwork
from lst.backbones.presets import preset

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
# (M, K, N): of the kinds a matrix unit is at its best with, and of our own.
PRODUCTS = ((4096, 768, 3072), (4096, 3072, 768), (2048, 2048, 2048),
            (8192, 1024, 512))
FIELDS = ('device', 'model', 'dtype', 'batch', 'rank', 'gb_s', 'gflop_s',
          'read_ms', 'products_ms', 'floor_ms', 'step_ms', 'step_min_ms',
          'ratio')


class Shape(NamedTuple):
  """Of the taps: images, tokens N, channels D, taps L; and rank r."""

  batch: int
  tokens: int
  width: int
  depth: int
  rank: int

  @property
  def operations(self) -> int:
    """4 N D r operations for each tap and image."""
    return (4 * self.tokens * self.width * self.rank * self.depth
            * self.batch)


def features(shape: Shape, dtype) -> Features:
  """Random taps and a final norm."""
  keys = jax.random.split(jax.random.key(0), shape.depth)
  size = shape.batch, shape.tokens, shape.width
  taps = tuple(jax.random.normal(key, size, dtype) for key in keys)
  norm = Norm(jnp.ones(shape.width), jnp.zeros(shape.width), 1e-6)
  return Features(taps, norm)


def shape_of(model: str, batch: int, rank: int) -> Shape:
  """The shape of a preset's taps."""
  vit = preset(model, image_size=cases.IMAGE_SIZE)
  tokens = vit.grid[0] * vit.grid[1] + vit.prefix
  return Shape(batch, tokens, vit.width, vit.depth, rank)


class Step(NamedTuple):
  """A jitted function with its arguments."""

  run: Callable
  args: tuple

  def __call__(self) -> object:
    """Calls it."""
    return self.run(*self.args)

  def program(self) -> str:
    """The compiled program, as text."""
    return self.run.lower(*self.args).compile().as_text()


def side_step(shape: Shape, given: Features) -> Step:
  """Loss and gradients of the side network's parameters, from features."""
  network = SideNetwork(
      LowRank(rank=shape.rank, residual='running'), classes=cases.CLASSES,
      pool='cls')
  prepared = jax.jit(network.prepare)(given)
  params = network.init(jax.random.key(1), prepared, method='readout')
  label = jnp.arange(shape.batch) % cases.CLASSES

  def loss(params, taps, norm):
    logits = network.apply(params, Features(taps, norm), method='readout')
    scores = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(scores, label[:, None], 1).mean()

  return Step(
      jax.jit(jax.value_and_grad(loss)), (params, prepared.taps, prepared.norm))


SUMS = {
    'columns': lambda x: x.reshape(-1, 8, 256).sum(0),
    'rows': lambda x: x.sum(-1),
    'examples': lambda x: x.reshape(len(x), -1, 256).sum(1),
}


def reading(shape: Shape) -> dict[str, Callable[[], object]]:
  """Sums over all taps in f32, each read once, in a few orders."""
  taps = features(shape, jnp.float32).taps

  def one(of_tap):
    run = jax.jit(lambda taps: [of_tap(tap) for tap in taps])
    return lambda: run(taps)

  return {name: one(of_tap) for name, of_tap in SUMS.items()}


def products(dtype) -> dict[tuple, Callable[[], object]]:
  """Each of `PRODUCTS`: operands in `dtype`, sums and result in f32."""
  run = jax.jit(lambda a, b: jnp.matmul(
      a, b, preferred_element_type=jnp.float32))

  def one(m, k, n):
    a = jax.random.normal(jax.random.key(2), (m, k), dtype)
    b = jax.random.normal(jax.random.key(3), (k, n), dtype)
    return lambda: run(a, b)

  return {size: one(*size) for size in PRODUCTS}


def in_turns(runs: dict, rounds: int) -> dict[object, list[float]]:
  """Seconds of each, a round after the other; the first calls are left out."""
  seconds = {name: [] for name in runs}
  for turn in range(rounds + 2):
    for name, run in runs.items():
      start = time.perf_counter()
      jax.block_until_ready(run())
      if turn > 1:
        seconds[name].append(time.perf_counter() - start)
  return seconds


def measure(model: str, batch: int, rank: int, rounds: int) -> list[dict]:
  """One row for each dtype, all of it measured in the same turns."""
  shape = shape_of(model, batch, rank)
  runs = {('read', name): run for name, run in reading(shape).items()}
  for name, dtype in DTYPES.items():
    given = features(shape, dtype)
    runs[name, 'step'] = side_step(shape, given)
    runs |= {(name, size): run for size, run in products(dtype).items()}
  seconds = in_turns(runs, rounds)
  values = math.prod(shape[:4])
  bandwidth = 4 * values / min(min(seconds['read', name]) for name in SUMS)
  rows = []
  for name, dtype in DTYPES.items():
    rate = max(2 * math.prod(p) / min(seconds[name, p]) for p in PRODUCTS)
    read = 2 * values * jnp.dtype(dtype).itemsize / bandwidth
    work = shape.operations / rate
    floor, steps = max(read, work), seconds[name, 'step']
    median = statistics.median(steps)
    rows.append(dict(zip(FIELDS, (
        jax.default_backend(), model, name, batch, rank, bandwidth / 1e9,
        rate / 1e9, read * 1e3, work * 1e3, floor * 1e3, median * 1e3,
        min(steps) * 1e3, median / floor), strict=True)))
  return rows


def main() -> None:
  """Measures, prints and writes DIR/floor.csv."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--model', default='B/16')
  parser.add_argument('--batch', type=int, default=cases.BATCH)
  parser.add_argument('--rank', type=int, default=cases.RANK)
  parser.add_argument('--rounds', type=int, default=20)
  args = parser.parse_args()
  args.out.mkdir(parents=True, exist_ok=True)
  rows = measure(args.model, args.batch, args.rank, args.rounds)
  with (args.out / 'floor.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
    writer.writeheader()
    for row in rows:
      row |= {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}
      writer.writerow(row)
      print(', '.join(f'{k} {v}' for k, v in row.items()))


if __name__ == '__main__':
  main()
