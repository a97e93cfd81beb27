"""FLOPs and memory of each device at 1 to 8 of them, from compilation alone.

`python -m experiments.meshes.run --out=DIR [--topology=v5e:2x4]`
"""

import argparse
import csv
import functools
import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies

from lst import cache, losses, sharding, step
from lst import config as config_lib
from lst.backbones import backbone as backbones
from lst.backbones import passes
from lst.backbones.vit import ViT
from lst.data import Batch
from lst.method import METHODS, on_stored

SIZE, CLASSES = 224, 100
MESHES = ((1, 1), (2, 1), (1, 2), (4, 1), (2, 2), (8, 1), (4, 2), (2, 4))
FIELDS = (
    'platform', 'devices', 'data', 'fsdp', 'program', 'gflops', 'weights_mib',
    'arguments_mib', 'temporary_mib')


def vit_b(depth: int) -> backbones.Backbone:
  """ViT-B/16 in bf16, its weights as shapes."""
  vit = ViT(
      patch=16, width=768, depth=depth, heads=12, hidden=3072, grid=(14, 14),
      dtype=jnp.bfloat16)

  def apply(frozen, images, at, gather=None):
    x = images.astype(jnp.float32) / 127.5 - 1
    frozen = passes.whole_ends(frozen, x, gather)
    return vit.apply({'params': frozen}, x, at, gather=gather)

  image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
  params = jax.eval_shape(vit.init, jax.random.key(0), image)['params']
  frozen = jax.tree_util.tree_map_with_path(
      lambda path, x: jax.ShapeDtypeStruct(
          x.shape, jnp.bfloat16 if path[-1].key == 'kernel' else x.dtype),
      params)
  return backbones.Backbone(
      'ViT-B/16', 'none', apply, frozen, (SIZE, SIZE), 197, 768, depth, 1,
      True, 1e-6, (0.5,) * 3, (0.5,) * 3, 'bfloat16')


def shaped(tree, where):
  """Shapes with their places; `where` is a sharding or shape -> sharding."""
  return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(
          x.shape, x.dtype, sharding=where(x) if callable(where) else where),
      tree)


def programs(config, mesh, batch_size, depth):
  """{name: compiled} of a run on a mesh, and the weights in bytes a device."""
  backbone = vit_b(depth)
  gather = sharding.gatherer(mesh)
  if gather is not None:
    backbone = backbone._replace(
        apply=functools.partial(backbone.apply, gather=gather))
  method = METHODS['side'](config, backbone, CLASSES)
  where = sharding.frozen(mesh, config.mesh.min_size)
  weights = shaped(backbone.frozen, where)
  images = jax.ShapeDtypeStruct(
      (batch_size, SIZE, SIZE, 3), np.uint8, sharding=sharding.batched(mesh))
  extract = jax.jit(method.extract)
  out = {'features': extract.lower(weights, images).compile()}
  features = jax.eval_shape(method.extract, weights, images)
  params = jax.eval_shape(method.init, jax.random.key(0), weights, images)
  optimizer = optax.adamw(1e-3)
  state = step.TrainState(
      jax.ShapeDtypeStruct((), np.int32), params,
      jax.eval_shape(optimizer.init, params))
  everywhere, rows = sharding.replicated(mesh), sharding.batched(mesh)
  codebook = cache.fit('exact', (), jax.tree.map(
      lambda x: np.ones(np.shape(x), np.float32), features.norm))
  train_step = jax.jit(functools.partial(
      step.train_step, predict=on_stored(method, cache.expand),
      loss=losses.cross_entropy, optimizer=optimizer),
      out_shardings=everywhere)
  batch = Batch(features.taps, *(
      jax.ShapeDtypeStruct((batch_size,), t) for t in (np.int32, np.float32)))
  out['side step'] = train_step.lower(
      shaped(state, everywhere), codebook, shaped(batch, rows)).compile()
  held = sum(
      int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize
      for x in jax.tree.leaves(weights))
  return out, held


def rows_of(options, data, fsdp, devices, platform):
  """The rows of the table for one mesh."""
  mesh = sharding.make_mesh(data, fsdp, devices[:data * fsdp])
  compiled, held = programs(
      config_lib.default(), mesh, options.batch, options.depth)
  for name, program in compiled.items():
    memory, costs = program.memory_analysis(), program.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    yield dict(zip(FIELDS, (
        platform, data * fsdp, data, fsdp, name,
        f'{costs["flops"] / 1e9:.1f}', f'{held / 2**20:.1f}',
        f'{memory.argument_size_in_bytes / 2**20:.1f}',
        f'{memory.temp_size_in_bytes / 2**20:.1f}'), strict=True))


def main():
  """Compiles, prints and writes."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', required=True, help='folder of results.csv')
  parser.add_argument('--topology', default='', help=(
      'of TPUs, such as v5e:2x4 or v6e:2x4 (needs libtpu); else CPUs'))
  parser.add_argument('--batch', type=int, default=64)
  parser.add_argument('--depth', type=int, default=12)
  options = parser.parse_args()
  platform, devices = 'cpu', None
  if options.topology:
    platform = options.topology.partition(':')[0]
    devices = topologies.get_topology_desc(
        platform='tpu', topology_name=options.topology).devices
  path = pathlib.Path(options.out) / 'results.csv'
  path.parent.mkdir(parents=True, exist_ok=True)
  new = not path.exists()
  with path.open('a', newline='') as file:
    writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
    if new:
      writer.writeheader()
    for data, fsdp in MESHES:
      for row in rows_of(
          options, data, fsdp, devices or jax.devices(), platform):
        print(row, file=sys.stderr, flush=True)
        writer.writerow(row)
        file.flush()


if __name__ == '__main__':
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  jax.config.update('jax_num_cpu_devices', 8)
  main()
