"""Our side: LoSA online, from a cache, in a sweep, and the linear probe.

THE ADAPTER. What is measured stands in `_losa`, `_cached` and `_sweep`; a
better cache or sweep is plugged in there, and nothing else has to change. Each
returns a function that makes one step and returns when it is done.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.speed import cases
from lst import Features, Linear, LowRank, SideNetwork, data, losses, step
from lst import method as methods
from lst.backbones import backbone as backbones
from lst.backbones.block import unchanged
from lst.backbones.presets import preset
from lst.sweep import cuts, stacked

HALF = (0.5, 0.5, 0.5)


def backbone_of(case: cases.Case) -> backbones.Backbone:
  """A backbone of random weights, in the form that a checkpoint comes in."""
  size = cases.IMAGE_SIZE
  vit = preset(
      case.model, image_size=size, dtype=backbones.DTYPES[case.dtype])
  image = jnp.zeros((1, size, size, 3))

  def init():
    params = vit.init(jax.random.key(0), image)['params']
    return flax.traverse_util.path_aware_map(
        lambda path, x: x.astype(
            vit.dtype if path[-1] == 'kernel' else jnp.float32), params)

  def apply(frozen, images, at=unchanged):
    return vit.apply(
        {'params': frozen}, images.astype(jnp.float32) / 127.5 - 1, at)

  return backbones.Backbone(
      case.model, 'random', apply, jax.jit(init)(), (size, size),
      vit.grid[0] * vit.grid[1] + vit.prefix, vit.width, vit.depth, vit.prefix,
      True, vit.eps, HALF, HALF, case.dtype)


def method_of(case: cases.Case, backbone: backbones.Backbone) -> methods.Method:
  """LoSA of rank 16, or the linear probe."""
  side = Linear()
  if not case.method.startswith('linear'):
    # The default when this was measured.
    side = LowRank(cases.RANK, residual='running')
  network = SideNetwork(side, cases.CLASSES, pool='cls')
  return methods.beside(backbones.extractor(backbone), network)


def _images(count: int) -> np.ndarray:
  shape = (count, cases.IMAGE_SIZE, cases.IMAGE_SIZE, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _labels(count: int) -> tuple[np.ndarray, np.ndarray]:
  """Classes, and the mask of a batch without padding."""
  label = np.arange(count, dtype=np.int32) % cases.CLASSES
  return label, np.ones(count, np.float32)


def _trainer(params, predict, frozen, next_inputs, batch):
  """AdamW by `lst.step`, on the inputs that `next_inputs()` hands over."""
  optimizer = optax.adamw(cases.LR, weight_decay=1e-4)
  state = step.TrainState(np.int32(0), params, optimizer.init(params))
  take = jax.jit(functools.partial(
      step.train_step, predict=predict, loss=losses.cross_entropy,
      optimizer=optimizer))
  labels = _labels(batch)

  def one():
    nonlocal state
    state, sums = take(state, frozen, data.Batch(next_inputs(), *labels))
    jax.block_until_ready((state, sums))

  return one


def _features(case):
  """The frozen forward pass with what the side network prepares, to the host.

  It is what filling a cache in RAM costs for one batch.
  """
  backbone = backbone_of(case)
  extract = jax.jit(method_of(case, backbone).extract)
  images = _images(case.batch)

  def one():
    jax.device_get(extract(backbone.frozen, images).taps)

  return one


def _losa(case):
  """Online: images through the backbone, then the side network's step."""
  backbone = backbone_of(case)
  method = method_of(case, backbone)
  images = _images(case.batch)
  params = jax.jit(method.init)(
      jax.random.key(1), backbone.frozen, images[:1])
  return _trainer(
      params, method.predict, backbone.frozen, lambda: images, case.batch)


def fill(case, backbone, method) -> tuple[tuple[np.ndarray, ...], object]:
  """The features of `case.images` images in RAM, and their final norm."""
  extract = jax.jit(method.extract)
  count, taps = min(case.batch, case.images), None
  for start in range(0, case.images, count):
    made = extract(backbone.frozen, _images(count))
    if taps is None:
      taps = tuple(
          np.empty((case.images, *tap.shape[1:]), tap.dtype)
          for tap in made.taps)
    for row, tap in zip(taps, jax.device_get(made.taps), strict=True):
      row[start:start + count] = tap[:case.images - start]
  return taps, made.norm


def _gathered(taps, batch):
  """A function that gives the taps of another random batch each time."""
  rng = np.random.default_rng(1)

  def one():
    rows = rng.choice(len(taps[0]), batch, replace=len(taps[0]) < batch)
    return tuple(np.take(tap, rows, axis=0) for tap in taps)

  return one


def _on_taps(method):
  """`predict` for inputs that are taps; their norm stands for the weights."""
  return lambda params, norm, taps: method.readout(
      params, Features(taps, norm))


def _cached(case):
  """From the cache: rows gathered in RAM, then the side network's step."""
  backbone = backbone_of(case)
  method = method_of(case, backbone)
  params = jax.jit(method.init)(
      jax.random.key(1), backbone.frozen, _images(1))
  taps, norm = fill(case, backbone, method)
  del backbone
  return _trainer(
      params, _on_taps(method), norm, _gathered(taps, case.batch), case.batch)


class Sweep(NamedTuple):
  """All points of a tuning: `take(runs, norm, batch, rates, decays)`."""

  take: Callable
  runs: step.TrainState
  rates: np.ndarray
  decays: np.ndarray


def sweep_of(predict, params: list, norm, taps, batch: int) -> Sweep:
  """As `lst.sweep` makes it; `taps` are arrays, or shapes, of any batch."""
  like = tuple(jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in taps)
  parts = cuts.parts(predict, params[0], norm, like, batch, len(params))

  def each(state, frozen, batch, lr, weight_decay):
    return step.train_step(
        state, frozen, batch, predict=predict, loss=losses.cross_entropy,
        optimizer=optax.adamw(lr, weight_decay=weight_decay), parts=parts)

  take = functools.partial(stacked.train_step, one=each, chunk=0)
  return Sweep(
      jax.jit(take), stacked.start(params, optax.adamw(cases.LR)),
      np.geomspace(1e-4, 1e-2, len(params), dtype=np.float32),
      np.full(len(params), 1e-4, np.float32))


def _sweep(case):
  """From the cache: all points of a tuning take the step together."""
  backbone = backbone_of(case)
  method = method_of(case, backbone)
  init = jax.jit(method.init)
  params = [init(jax.random.key(k), backbone.frozen, _images(1))
            for k in range(cases.POINTS)]
  taps, norm = fill(case, backbone, method)
  del backbone
  sweep = sweep_of(_on_taps(method), params, norm, taps, case.batch)
  runs, gather = sweep.runs, _gathered(taps, case.batch)
  labels = _labels(case.batch)

  def one():
    nonlocal runs
    runs, sums = sweep.take(
        runs, norm, data.Batch(gather(), *labels), sweep.rates, sweep.decays)
    jax.block_until_ready((runs, sums))

  return one


METHODS = {
    'features': _features, 'losa': _losa, 'losa_cached': _cached,
    'linear_cached': _cached, 'losa_sweep': _sweep,
}


def build(case: cases.Case) -> Callable[[], None]:
  """A function that makes one step of `case` and returns when it is done."""
  return METHODS[case.method](case)


def peak_mib(case: cases.Case) -> float | None:
  """Largest memory the GPU's allocator held; None on a CPU."""
  if case.device != 'gpu':
    return None
  return jax.local_devices()[0].memory_stats()['peak_bytes_in_use'] / 2 ** 20
