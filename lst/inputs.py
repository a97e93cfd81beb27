"""Where the batches of a run come from, the same way for every method."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from lst import cache, data, hosts, sharding
from lst import config as config_lib
from lst.build import (
    Built,
    averaging,
    method_here,
    norm_of,
    on_stored,
    plain_extract,
)
from lst.data import Batch
from lst.screen import Filling


class Pass(NamedTuple):
  """One evaluation pass, of images or from a cache, whatever training reads.

  Attributes:
    batches: () -> the batches, padded and masked.
    ready: as `Inputs.ready`.
    reader: whose `predict`, `eval_step` and `frozen` are for what is ready.
  """

  batches: Callable[[], Iterator[Batch]]
  ready: Callable[[Batch], Batch]
  reader: Built


class Inputs(NamedTuple):
  """The batches of this host.

  Attributes:
    train: (step to start after) -> endless batches, to be closed.
    ready: from a batch on the devices to what the step takes. It is a program
      of its own that makes features of images, the same one that fills a
      cache: so a run has the same bits with a cache and without.
    val, test: the passes that evaluate, or None if there is no split.
    shapes: `Batch.inputs` of one example when it is ready, as shapes without
      the batch axis.
    online: whether the backbone runs in every step.
  """

  train: Callable[[int], Iterator[Batch]]
  ready: Callable[[Batch], Batch]
  val: Pass | None
  test: Pass | None
  shapes: jax.ShapeDtypeStruct | tuple[jax.ShapeDtypeStruct, ...]
  online: bool


def open_(config, built: Built) -> tuple[Built, Inputs]:
  """The inputs that `config.cache` asks for, and what reads them.

  Makes the features that are to be cached and are not there yet, and says what
  it chose and why.

  Raises:
    lst.cache.CacheError: the cache that was asked for cannot be.
    lst.data.DataError: an image cannot be read.
  """
  _check(config, built)
  if built.method.extract is None or config.cache.mode == 'off':
    return _online(config, built)
  filling = Filling()
  train = _store(config, built, 'train', filling)
  if train is None:
    return _online(config, built)
  passes = {
      name: _stored_pass(config, built, name, train.codebook, filling)
      for name in ('val', 'test')}
  one = train.read(np.zeros(1, np.int64))
  shapes = tuple(jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in one)

  def batches(start: int) -> Iterator[Batch]:
    return data.train_rows(
        built.dataset.train.size, train.batch, views=config.data.views,
        batch_size=config.train.batch_size,
        seed=config_lib.order_seed(config), start_step=start,
        **_threads(config))

  return on_stored(built, train.codebook), Inputs(
      batches, _same, **passes, shapes=shapes, online=False)


def _check(config, built: Built) -> None:
  mode, keep = config.cache.mode, config.side.keep
  if built.method.extract is not None or mode not in ('disk', 'ram'):
    return
  why = f'config.method={config.method!r} changes states with every step'
  if config.method == 'side':
    why = f'under config.side.keep={keep!r} no tap leaves the step'
  raise cache.CacheError(
      f'config.cache.mode={mode}: {why}: nothing to keep; set it to auto, off')


def _same(batch: Batch) -> Batch:
  return batch


def _stored_pass(config, built, name, codebook, filling) -> Pass | None:
  """The pass over a split: from its cache, or of images if it has none."""
  if getattr(built.dataset, name) is None:
    return None
  store = _store(config, built, name, filling, codebook)
  if store is None:
    return _image_pass(config, built, name, *beside(built)[:2])
  batches = functools.partial(
      data.eval_rows, np.arange(store.rows), store.batch,
      batch_size=config.train.eval_batch_size, **_threads(config))
  reader = on_stored(built, store.codebook)
  return Pass(
      batches, _same,
      averaging(reader, _evaluated(config, built, name)[1]))


def _evaluated(config, built, name: str) -> tuple[str, int]:
  """The augmentation and the number of views of what is evaluated."""
  if name != 'test':
    return 'none', 1
  augment, views = built.dataset.test_views
  size = config.train.eval_batch_size
  if size % views:
    raise data.DataError(
        f'config.train.eval_batch_size={size} holds no whole number of videos '
        f'of {views} views (data.video.test_clips x test_crops): make it a '
        f'multiple of {views}')
  return augment, views


def _store(config, built, name, filling, codebook=None):
  """The features of one split, or None if they are computed on the spot."""
  options, passes = cache.options(config), config.train.epochs
  if name != 'train':
    # What is evaluated are the plain images.
    augment, views = _evaluated(config, built, name)
    options = options._replace(
        views=views, augment=augment, batch_size=config.train.eval_batch_size)
    passes = config.train.epochs / config.train.eval_epochs + 1
  if name == 'test':
    # Read once: nothing is won by keeping it in memory for that.
    passes = 1
    if options.mode == 'ram':
      return None
  split = getattr(built.dataset, name)
  method, weights, mesh = method_here(built, config)
  origin = cache.origin(
      built.backbone, method.extract, frozen=weights,
      put=functools.partial(_put_here, mesh=mesh),
      plain=plain_extract(built, config),
      run=method.run if built.backbone.steps else None)
  with filling.of(f'features of {split.name}') as progress:
    return cache.prepare(
        origin, options, split, built.dataset.train, epochs=passes,
        codebook=codebook, note={'data': built.dataset.name},
        say=filling.say, progress=progress, peers=_peers(built)).store


def _put_here(images, mesh):
  return jax.device_put(images, sharding.batched(mesh))


def _peers(built) -> cache.Peers:
  """The processes of this run: each extracts its part of every batch."""
  everywhere = sharding.replicated(built.mesh)
  gather = jax.jit(lambda made: made, out_shardings=everywhere)

  def whole(batch):
    batch = sharding.put_batch(batch, built.mesh)
    taps = built.method.run(built.weights, batch.inputs).taps
    made = gather((taps, batch._replace(inputs=())))
    taps, batch = jax.tree.map(lambda x: x.addressable_data(0), made)
    return taps, jax.device_get(batch)

  return cache.Peers(
      jax.process_index(), jax.process_count(), hosts.agreed, whole)


def _online(config, built: Built) -> tuple[Built, Inputs]:
  """Images, decoded as they are needed and kept if they all fit."""
  def train(start: int) -> Iterator[Batch]:
    return data.train_batches(
        built.dataset.train, batch_size=config.train.batch_size,
        seed=config_lib.order_seed(config), start_step=start,
        cache_bytes=config.data.cache_bytes, augment=config.data.augment,
        views=config.data.views, **_reading(config, built))

  ready, reader = _same, built
  shapes = jax.ShapeDtypeStruct((*built.backbone.input_size, 3), 'uint8')
  # Micro-batches never hold the features of a whole batch; blocks on disk do.
  whole = built.parts == 1 or built.backbone.steps
  if built.method.readout is not None and whole:
    ready, reader, shapes = beside(built)
  return reader, Inputs(
      train, ready, _image_pass(config, built, 'val', ready, reader),
      _image_pass(config, built, 'test', ready, reader), shapes, True)


def beside(built: Built):
  """A side method on features that are made of images, batch by batch.

  Returns:
    (`Inputs.ready`, what reads its batches, `Inputs.shapes`).
  """
  image = np.zeros((1, *built.backbone.input_size, 3), np.uint8)
  taps = jax.eval_shape(built.method.extract, built.weights, image).taps

  def ready(batch: Batch) -> Batch:
    made = built.method.run(built.weights, batch.inputs)
    return batch._replace(inputs=made.taps)

  return (
      ready, on_stored(built, cache.fit('exact', (), norm_of(built, image))),
      tuple(jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in taps))


def _image_pass(config, built, name, ready, reader) -> Pass | None:
  split = getattr(built.dataset, name)
  if split is None:
    return None
  augment, views = _evaluated(config, built, name)
  kept = data.cached(
      data.viewed(split, augment, views),
      image_size=built.backbone.input_size, resize=config.data.resize,
      max_bytes=config.data.cache_bytes)
  batches = functools.partial(
      data.eval_batches, kept, batch_size=config.train.eval_batch_size,
      **_reading(config, built))
  return Pass(batches, ready, averaging(reader, views))


def _reading(config, built) -> dict[str, Any]:
  return dict(
      image_size=built.backbone.input_size, resize=config.data.resize,
      **_threads(config))


def _threads(config) -> dict[str, Any]:
  """Who reads: which process of how many, in how many threads."""
  return dict(
      process_index=jax.process_index(), process_count=jax.process_count(),
      workers=config.data.workers, prefetch=config.data.prefetch)
