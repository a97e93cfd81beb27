"""FLOPs and memory of each device at 1 to 8 of them, from compilation alone.

`python -m experiments.meshes.run --topology=cpu` (or v5e:2x4, v6e:2x4)
"""

import argparse
import csv
import functools
import importlib.metadata
import os
import pathlib
import sys
from collections.abc import Iterator

import jax
import numpy as np
import optax

from lst import build, cache, losses, method, sharding, step
from lst import config as config_lib
from lst.backbones import backbone as backbones
from lst.data import Batch
from lst.plan import chips

CLASSES = 100
# (data, fsdp); how the backbone lies is nothing to the side step.
MESHES = ((1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (1, 4), (2, 4))
FIELDS = (
    'platform', 'program', 'devices', 'data', 'fsdp', 'gflops', 'weights_mib',
    'inputs_mib', 'work_mib', 'versions')
MIB = 2**20


def run_config(options):
  """LoSA on a ViT in bf16."""
  config = config_lib.default()
  # The default when this was measured.
  config.side.residual = 'running'
  config.backbone.weights = f'random:{options.size}'
  config.train.batch_size = options.batch
  return config


def shaped(tree, where):
  """Shapes with their places; `where` is a sharding or shape -> sharding."""
  return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(
          x.shape, x.dtype, sharding=where(x) if callable(where) else where),
      tree)


def held(tree) -> int:
  """Bytes of placed shapes on one device."""
  return sum(
      int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize
      for x in jax.tree.leaves(tree))


def compiled(config, mesh) -> Iterator[tuple[str, object, int]]:
  """(name, program, bytes of the backbone on a device) of a run on a mesh."""
  backbone = backbones.shaped(config.backbone)
  adapted = build.on_mesh(mesh, config, backbone, CLASSES)
  weights = shaped(
      backbone.frozen, sharding.frozen(mesh, config.mesh.min_size))
  everywhere, rows = sharding.replicated(mesh), sharding.batched(mesh)
  size = config.train.batch_size
  images = jax.ShapeDtypeStruct(
      (size, *backbone.image_size, 3), np.uint8, sharding=rows)
  extract = jax.jit(
      lambda weights, images: adapted.extract(weights, images).taps)
  yield ('features', extract.lower(weights, images).compile(), held(weights))
  if 'fsdp' in mesh.axis_names:
    return
  features = jax.eval_shape(adapted.extract, weights, images)
  params = jax.eval_shape(adapted.init, jax.random.key(0), weights, images)
  optimizer = optax.adamw(1e-3)
  state = step.TrainState(
      jax.ShapeDtypeStruct((), np.int32), params,
      jax.eval_shape(optimizer.init, params))
  codebook = cache.fit('exact', (), jax.tree.map(
      lambda x: np.ones(np.shape(x), np.float32), features.norm))
  train_step = jax.jit(functools.partial(
      step.train_step, predict=method.on_stored(adapted, cache.expand),
      loss=losses.cross_entropy, optimizer=optimizer),
      out_shardings=everywhere)
  batch = Batch(features.taps, *(
      jax.ShapeDtypeStruct((size,), t) for t in (np.int32, np.float32)))
  yield ('side step', train_step.lower(
      shaped(state, everywhere), shaped(codebook, everywhere),
      shaped(batch, rows)).compile(), 0)


def rows_of(options, devices) -> Iterator[dict]:
  """The rows of the table for one platform."""
  platform = options.topology.partition(':')[0]
  versions = ' '.join(
      f'{name} {importlib.metadata.version(name)}'
      for name in ('jax', 'jaxlib', *['libtpu'] * (platform != 'cpu')))
  for data, fsdp in MESHES:
    mesh = sharding.make_mesh(data, fsdp, devices[:data * fsdp])
    for name, program, weights in compiled(run_config(options), mesh):
      memory, costs = program.memory_analysis(), program.cost_analysis()
      costs = costs[0] if isinstance(costs, list) else costs
      yield dict(zip(FIELDS, (
          platform, name, data * fsdp, data, fsdp,
          round(costs['flops'] / 1e9, 2), *(round(x / MIB, 1) for x in (
              weights, memory.argument_size_in_bytes - weights,
              memory.temp_size_in_bytes + memory.output_size_in_bytes)),
          versions), strict=True))


def write(path: pathlib.Path, platform: str, rows: list[dict]) -> list[dict]:
  """Puts the rows of a platform in the place of older ones; returns all."""
  there = []
  if path.exists():
    with path.open(newline='') as file:
      there = [r for r in csv.DictReader(file) if r['platform'] != platform]
  with path.open('w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(there + rows)
  return there + rows


def main():
  """Compiles, prints and writes."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
      '--out', default=pathlib.Path(__file__).parent, type=pathlib.Path,
      help='folder of results.csv')
  parser.add_argument('--topology', default='cpu', help=(
      'cpu, or of TPUs, such as v5e:2x4 or v6e:2x4 (needs libtpu)'))
  parser.add_argument('--batch', type=int, default=64, help='over all devices')
  parser.add_argument('--size', default='B/16', help='of the backbone')
  options = parser.parse_args()
  devices = jax.devices()
  if options.topology != 'cpu':
    devices = chips.devices(options.topology)[1]
  rows = []
  for row in rows_of(options, devices):
    print('  '.join(map(str, row.values())), file=sys.stderr, flush=True)
    rows.append(row)
  options.out.mkdir(parents=True, exist_ok=True)
  write(options.out / 'results.csv', options.topology.partition(':')[0], rows)


if __name__ == '__main__':
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', 8)
  main()
