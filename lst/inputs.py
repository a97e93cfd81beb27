"""Where the batches of a run come from, the same way for every method."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax

from lst import config as config_lib
from lst import data
from lst.build import Built
from lst.data import Batch


class Inputs(NamedTuple):
  """The batches of this host.

  Attributes:
    train: (step to start after) -> endless batches, to be closed.
    val, test: () -> one pass, padded and masked; None if there is no split.
    shapes: `Batch.inputs` of one example, as shapes without the batch axis.
    about: where they come from, in a few words; '' if nothing is to be said.
  """

  train: Callable[[int], Iterator[Batch]]
  val: Callable[[], Iterator[Batch]] | None
  test: Callable[[], Iterator[Batch]] | None
  shapes: jax.ShapeDtypeStruct | tuple[jax.ShapeDtypeStruct, ...]
  about: str = ''


def images(config, built: Built) -> Inputs:
  """Images, decoded as they are needed and kept if they all fit."""
  size = built.backbone.image_size
  reading = dict(
      image_size=size, resize=config.data.resize,
      process_index=jax.process_index(), process_count=jax.process_count(),
      workers=config.data.workers, prefetch=config.data.prefetch)
  limit = config.data.cache_bytes

  def train(start: int) -> Iterator[Batch]:
    return data.train_batches(
        built.dataset.train, batch_size=config.train.batch_size,
        seed=config_lib.order_seed(config), start_step=start,
        cache_bytes=limit, **reading)

  def passes(split):
    if split is None:
      return None
    kept = data.cached(
        split, image_size=size, resize=config.data.resize, max_bytes=limit)
    return functools.partial(
        data.eval_batches, kept, batch_size=config.train.eval_batch_size,
        **reading)

  return Inputs(
      train, passes(built.dataset.val), passes(built.dataset.test),
      jax.ShapeDtypeStruct((*size, 3), 'uint8'))


def open_(config, built: Built) -> tuple[Built, Inputs]:
  """The inputs that `config` asks for, and what reads them."""
  return built, images(config, built)
