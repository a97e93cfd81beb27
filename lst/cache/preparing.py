"""From a split of images and what extracts features of them to a store."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lst.cache import estimate, fill, folders, forms, layout
from lst.cache import key as keys
from lst.cache.alike import ALONE, Peers
from lst.cache.errors import CacheError
from lst.cache.making import build
from lst.cache.memory import build_in_memory
from lst.cache.origins import FIT_ROWS, Options, Origin, key
from lst.cache.rows import UNREADABLE, Produced, Recipe, Store
from lst.data import Loader, Split, eval_rows, viewed


def recipe(
    origin: Origin, options: Options, split: Split, train: Split,
    codebook: forms.Codebook | None = None, peers: Peers = ALONE,
) -> Recipe:
  """How the rows of `split` are made.

  Args:
    origin, options: of the features; of the pipeline and the form.
    split: the examples, without views.
    train, codebook: what the codebook is found on, unless it is there.
    peers: that make the same rows at the same time, each its part of a batch.
  """
  whole = peers.whole or _alone(origin)

  def produce(rows: np.ndarray, split: Split = split) -> Iterator[Produced]:
    every = viewed(split, options.augment, options.views)
    load = Loader(every, origin.image_size, options.resize)
    batches = eval_rows(
        rows, load, batch_size=options.batch_size, workers=options.workers,
        prefetch=options.prefetch, process_index=peers.index,
        process_count=peers.count)
    left = len(rows)
    for taps, batch in map(whole, batches):
      label = np.where(batch.mask > 0, batch.label, UNREADABLE)[:left]
      left -= len(label)
      yield Produced(taps, label)

  def fit() -> forms.Codebook:
    if codebook is not None:
      return codebook
    rows = np.arange(train.size * options.views)
    rows = rows[np.linspace(
        0, len(rows) - 1, min(FIT_ROWS, len(rows))).astype(int)]
    taps = (
        tuple(tap[:len(produced.label)] for tap in produced.taps)
        for produced in produce(rows, train))
    return forms.fit(options.form, taps, _norm(origin), options.rank)

  return Recipe(
      origin.like.taps, split.size * options.views, produce, fit)


def _alone(origin: Origin) -> Callable[[Any], tuple[Any, Any]]:
  """(batch of images) -> (its taps, the batch), on this host's devices."""
  extract = origin.runs

  def whole(batch):
    return extract(origin.frozen, origin.put(batch.inputs)).taps, batch

  return whole


def _norm(origin: Origin):
  """The final norm that the features carry; no image decides about it."""
  images = jnp.zeros((1, *origin.image_size, 3), jnp.uint8)
  if origin.run:
    return origin.run(origin.frozen, images).norm

  def norm(frozen):
    return origin.extract(frozen, images).norm

  return jax.jit(norm)(origin.frozen)


def forward_seconds(origin: Origin, batch_size: int) -> float:
  """Seconds of a frozen pass, an image: the second of two batches."""
  images = np.zeros((batch_size, *origin.image_size, 3), np.uint8)
  extract = origin.runs
  for _ in range(2):
    started = time.monotonic()
    jax.block_until_ready(extract(origin.frozen, origin.put(images)))
  return (time.monotonic() - started) / batch_size


def stored_bytes(origin: Origin, options: Options) -> int:
  """Bytes of one row in the form that the options name, before it is made."""
  taps = origin.like.taps

  def of(tap, rows):
    if options.form == 'exact' or tap.shape[1] == 1:
      return estimate.bytes_per_row([tap])
    if options.form == 'int8':
      return int(np.prod(tap.shape[1:]))
    if options.rank >= tap.shape[2]:
      return estimate.bytes_per_row([tap])
    size = tap.shape[1] * options.rank + rows * tap.shape[2]
    return size * tap.dtype.itemsize

  # Of the last, two rows are kept whole.
  return sum(of(tap, 0) for tap in taps[:-1]) + of(taps[-1], 2)


class Prepared(NamedTuple):
  """A store, or None where features are computed on the spot, and why."""

  store: Store | None
  choice: estimate.Choice


def prepare(
    origin: Origin,
    options: Options,
    split: Split,
    train: Split,
    *,
    epochs: int | float,
    codebook: forms.Codebook | None = None,
    note: dict[str, Any] | None = None,
    say: Callable[[str], Any] = print,
    progress: fill.Progress | None = None,
    peers: Peers = ALONE,
) -> Prepared:
  """Chooses where to keep the features of a split, and makes what is missing.

  Args:
    origin, options, split, train: as `recipe` has them.
    epochs: how often every example is going to be read.
    codebook: of the training split, if it is ready.
    note, say, progress: as `build` has them.
    peers: the processes that call this at the same time.

  Raises:
    CacheError, lst.data.DataError: a mode does not fit; as `build` does.
  """
  if options.mode == 'off':
    return Prepared(None, estimate.Choice('off', 'off, as asked', {}))
  root, name = keys.root_of(options.path), key(origin, options, split, train)
  work = _work(origin, options, split, train, epochs, root, name, peers)
  choice = _choice(options, work, root, peers)
  say(f'features of {split.name!r}: {choice.reason}')
  if choice.mode == 'off':
    return Prepared(None, choice)
  if choice.mode == 'ram':
    how = recipe(origin, options, split, train, codebook, peers)
    return Prepared(build_in_memory(how, progress), choice)
  how = recipe(origin, _share(options, peers), split, train, codebook)
  note = _note(origin, split, work) | (note or {})
  store = build(root, name, how, note=note, say=say, progress=progress)
  return Prepared(_counted(store, split, options.views), choice)


def _counted(store: Store, split: Split, views: int) -> Store:
  """Puts clips without features on the ledger, whoever made those of others."""
  if split.video is None:
    return store
  rows = np.flatnonzero(np.asarray(store.labels) == UNREADABLE)
  for index in dict.fromkeys((rows // views).tolist()):
    split.video.ledger.add(index, (
        f'video {index} could not be read when features were made; to try it '
        f'again, delete {store.folder}'))
  return store


def _choice(options, work, root, peers: Peers) -> estimate.Choice:
  """That of the first process: it rests on times, which differ."""
  return estimate.Choice(*peers.agree(
      lambda: estimate.choose(options.mode, work, estimate.free(root)),
      CacheError))


def _share(options: Options, peers: Peers) -> Options:
  """On disk each process makes shards, in batches of its share."""
  return options._replace(batch_size=options.batch_size // peers.count)


def _note(origin, split, work) -> dict[str, Any]:
  return {'backbone': origin.name, 'split': split.name,
          'examples': split.size, 'forward_seconds': work.forward_seconds}


def _work(
    origin, options, split, train, epochs, root, name, peers
) -> estimate.Work:
  folder, rows = keys.folder_of(root, name), split.size * options.views
  there = folders.rows_there(folder)
  if there == rows:
    seconds = layout.read_about(folder).note['forward_seconds']
  else:
    share = _share(options, peers).batch_size
    seconds = forward_seconds(origin, share) / peers.count
  # What is there was made with its codebook.
  fitted = 0 if options.form == 'exact' or there else min(
      FIT_ROWS, train.size * options.views)
  return estimate.Work(
      split.size, options.views, epochs, stored_bytes(origin, options), seconds,
      fitted, there)
