"""What a run tells about itself: its banner, its result, its files."""

import importlib.metadata
import json
import platform
import resource
from typing import Any

import jax
import numpy as np
from etils import epath

from lst import config as config_lib
from lst import data, export, hosts, sharding, watch, workdir
from lst.backbones.streamed import OnDisk
from lst.plan import flops
from lst.screen import shown, table

PACKAGES = (
    'lst', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain',
    'numpy')


def count(tree) -> int:
  """Number of parameters of a tree, in blocks on disk as well."""
  leaves = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, OnDisk))
  return sum(
      x.parameters if isinstance(x, OnDisk) else int(np.prod(x.shape))
      for x in leaves)


def versions() -> dict[str, str]:
  """Version of Python and of each package that decides the numbers."""
  out = {'python': platform.python_version()}
  for name in PACKAGES:
    try:
      out[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      out[name] = 'not installed'
  return out


def peak_memory() -> int:
  """Largest device memory in use so far, in bytes; of the process on a CPU."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if 'peak_bytes_in_use' in stats:
    return int(stats['peak_bytes_in_use'])
  unit = 1 if platform.system() == 'Darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forward_flops(config, built) -> float:
  """FLOPs of the frozen backbone on one training batch, on one device."""
  backbone, count = built.backbone, config.train.batch_size
  size = backbone.input_size if backbone.tubelet else backbone.image_size
  count *= 1 if backbone.tubelet else max(backbone.frames, 1)
  image = jax.ShapeDtypeStruct((*size, 3), np.uint8)
  images = batch_shapes(image, count, built.mesh).inputs
  counted = flops.count(
      backbone.states or backbone.apply, built.weights, images)
  return counted / built.mesh.size


def step_flops(
    config, built, inputs, step=None, given=()) -> tuple[float, float]:
  """FLOPs of a training step, and of the backbone's forward pass, on a batch.

  On one device, and of products alone (`lst.plan.flops`).

  Args:
    config, built, inputs: of the run.
    step: what is counted, with the arguments `given`; `built.train_step` by
      default.
    given: to `step`.
  """
  forward = forward_flops(config, built)
  if step is None:
    batch = batch_shapes(inputs.shapes, config.train.batch_size, built.mesh)
    step, given = built.train_step, (built.state, built.frozen, batch)
  # Taps of images are made by a program of their own.
  apart = inputs.online and isinstance(inputs.shapes, tuple)
  counted = flops.count(step, *given) / built.mesh.size
  return counted + apart * forward, forward


def compile_and_show(config, built, inputs, folder, first, memory=''):
  """Compiles the training step and prints the banner, with `memory`'s row.

  Returns:
    (the compiled step, {'flops_step': on one device,
    'flops_step_over_forward': their ratio}).
  """
  console = shown()
  batch = batch_shapes(inputs.shapes, config.train.batch_size, built.mesh)
  with console.status('compiling'):
    train_step = built.train_step.lower(
        built.state, built.frozen, batch).compile()
    of_step, forward = step_flops(config, built, inputs)
    ratio = of_step / forward
  if hosts.first():
    rows = banner(config, built, folder, first, ratio)
    rows |= {'memory': memory} if memory else {}
    console.print(table('lst', rows), highlight=False)
  return train_step, {
      'flops_step': of_step, 'flops_step_over_forward': ratio}


def batch_shapes(example, batch_size, mesh) -> data.Batch:
  """A global batch as shapes, split over the devices as `put_batch` does."""
  def shape(dtype, *rest):
    return jax.ShapeDtypeStruct(
        (batch_size, *rest), dtype, sharding=sharding.batched(mesh))

  inputs = jax.tree.map(lambda x: shape(x.dtype, *x.shape), example)
  return data.Batch(inputs, shape(np.int32), shape(np.float32))


def banner(config, built, folder, first, ratio) -> dict[str, str]:
  """What a run says of itself as it starts: names and values."""
  backbone, dataset, mesh = built.backbone, built.dataset, built.mesh
  trained, frozen = count(built.state.params), count(built.weights)
  sizes = ', '.join(
      f'{s.size:,} {name}' for name, s in zip(
          ('train', 'val', 'test'),
          (dataset.train, dataset.val, dataset.test), strict=True) if s)
  height, width = backbone.image_size
  device = mesh.devices.flat[0]
  return {
      'data': f'{dataset.name}: {sizes}, {len(dataset.classes)} classes',
      'backbone': (
          f'{backbone.name} ({backbone.family}), {frozen:,} parameters, frozen,'
          f' {backbone.dtype}, {height} x {width} px'),
      'adapts with': _adapter(config),
      'trainable': f'{trained:,} parameters, {trained / frozen:.2%}',
      'step / forward': f'{ratio:.3f} FLOPs',
      'device': (
          f'{mesh.size} x {device.device_kind} ({device.platform}), mesh '
          f'{dict(mesh.shape)}'),
      'steps': (
          f'{built.steps:,} of {config.train.batch_size} images'
          + (f', going on from {first:,}' if first else '')),
      'workdir': str(folder),
  }


def _adapter(config) -> str:
  if config.method == 'side':
    if config.side.name == 'losa':
      return f'losa, rank {config.side.rank}, {config.side.residual} residual'
    return config.side.name
  # What the method has options of, under its own name.
  own = config_lib.flat(config.tuning).items()
  options = [
      f'{name.partition(".")[2]} {value}' for name, value in own
      if name.partition('.')[0] == config.method]
  remat = ['blocks rematerialised'] * config.tuning.remat
  return ', '.join([config.method, *options, *remat])


def finish(
    config, built, folder, params, tested, facts, **values
) -> dict[str, Any]:
  """Writes side.safetensors and result.json, prints the final table."""
  out = leave(config, built, folder, params, tested, facts, **values)
  show_result(out, folder)
  return out


def leave(
    config, built, folder, params, tested, facts, **values
) -> dict[str, Any]:
  """Writes side.safetensors and result.json; returns the latter's content."""
  means = tested.means() if tested.count else {}
  result = {
      'test_accuracy': means.get('accuracy'),
      'test_loss': means.get('loss'),
      'test_examples': int(tested.count),
      **values,
      'steps': built.steps,
      'train_examples': built.dataset.train.size,
      'trainable_params': count(built.state.params),
      'backbone_params': count(built.weights),
      **facts,
      'peak_memory_bytes': peak_memory(),
      'device': built.mesh.devices.flat[0].device_kind,
      'devices': built.mesh.size,
      'backbone': built.backbone.name,
      'normalisation': {
          'mean': built.backbone.mean, 'std': built.backbone.std},
      'versions': versions(),
      'config': config_lib.flat(config),
  }
  result = json.loads(json.dumps(result))
  if hosts.first():
    about = {
        'side': dict(config.side), 'cls': built.backbone.cls,
        'prefix': built.backbone.prefix, 'frames': built.backbone.frames,
        'times': built.backbone.times, 'backbone': result['backbone'],
        'sha256': export.digest(sharding.on_this_host(
            built.weights, sharding.local_mesh(built.mesh))),
        'image_size': built.backbone.image_size,
        'normalisation': result['normalisation'],
        'config': result['config'], 'versions': result['versions']}
    export.save(
        folder / 'side.safetensors', params, built.dataset.classes, about)
    workdir.write_json(folder / workdir.RESULT, result)
  return result


def show_result(result: dict[str, Any], folder: epath.Path) -> None:
  """Prints the final table, in process 0."""
  if not hosts.first():
    return
  rows = {}
  if result['test_accuracy'] is not None:
    rows['test accuracy'] = (
        f'{result["test_accuracy"]:.2%} of {result["test_examples"]:,} images')
  if result['val_accuracy'] is not None:
    rows['val accuracy'] = (
        f'{result["val_accuracy"]:.2%} at step {result["tested_step"]:,}, '
        'the best' + ', which was tested' * bool(result['test_examples']))
  rows['trained'] = (
      f'{result["trainable_params"]:,} parameters on '
      f'{result["train_examples"]:,} images in {result["seconds"]:,.0f} s')
  if result['images_per_second']:
    rows['speed'] = f'{result["images_per_second"]:,.0f} images/s'
  if 'input_share' in result.get('speed', ()):
    rows |= watch.told(result['speed'])
  rows['peak memory'] = f'{result["peak_memory_bytes"] / 2**20:,.0f} MiB'
  rows['in'] = f'{folder}: result.json, side.safetensors, metrics.jsonl'
  shown().print(table('result', rows), highlight=False)
