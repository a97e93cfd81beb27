"""Where the batches of a run come from, the same way for every method."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from lst import cache, data, sharding, stores
from lst import config as config_lib
from lst.build import Built, averaging, norm_of, on_stored
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
  train = stores.store(config, built, 'train', filling)
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
  store = stores.store(config, built, name, filling, codebook)
  if store is None:
    # All is evaluated in the form of training, wherever it is kept.
    return _image_pass(config, built, name, *beside(built, codebook)[:2])
  batches = functools.partial(
      data.eval_rows, np.arange(store.rows), store.batch,
      batch_size=config.train.eval_batch_size, **_threads(config))
  reader = on_stored(built, store.codebook)
  return Pass(
      batches, _same,
      averaging(reader, stores.evaluated(config, built, name)[1]))


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


def beside(built: Built, codebook=None):
  """A side method on features that are made of images, batch by batch.

  Args:
    built: of such a method.
    codebook: of a cache, for what it would hold of them; None = exact.

  Returns:
    (`Inputs.ready`, what reads its batches, `Inputs.shapes`).
  """
  image = np.zeros((1, *built.backbone.input_size, 3), np.uint8)
  if codebook is None:
    codebook = cache.fit('exact', (), norm_of(built, image))
  book = sharding.place(codebook, sharding.replicated(built.mesh))
  encode = jax.jit(cache.encode)
  taps = jax.eval_shape(built.method.extract, built.weights, image).taps
  stored = jax.eval_shape(encode, tuple(taps), book)

  def ready(batch: Batch) -> Batch:
    made = built.method.run(built.weights, batch.inputs)
    return batch._replace(inputs=encode(tuple(made.taps), book))

  return (
      ready, on_stored(built, codebook),
      tuple(jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in stored))


def _image_pass(config, built, name, ready, reader) -> Pass | None:
  split = getattr(built.dataset, name)
  if split is None:
    return None
  augment, views = stores.evaluated(config, built, name)
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
