"""The order of the examples, and the batches that each host makes of it.

Global batch k holds rows k B to (k + 1) B of an endless stream: the examples
of epoch 0 in its order, then those of epoch 1, and so on, so a batch may
straddle two epochs and every epoch holds each example once. The stream is a
pure function of the seed and the number of examples. Host p of P takes the
p-th of P equal runs of rows. So batch k is the same whatever P is, and to
resume at step k is to start there.

The arguments of `train_batches` and `eval_batches`:

  split: the examples.
  batch_size: examples in a global batch, over all hosts.
  image_size: side, or ([frames,] height, width), in pixels.
  resize: a key of `lst.data.decode.RESIZES`.
  seed: of the order, and of which view of an example comes first.
  augment: a key of `lst.data.views.AUGMENTS`.
  views: fixed views of each example, of which an epoch shows one.
  start_step: the first global batch to give; equals that many skipped.
  process_index: this host, from 0.
  process_count: hosts; must divide `batch_size`.
  workers: threads that decode; 0 works in the caller's thread.
  prefetch: batches made ahead, at least one for each worker.
  cache_bytes: decoded images are kept if all fit into this; 0 keeps none.

They give this host's rows as a `Batch`: image uint8 (b, [t,] h, w, 3), label
and mask (b,), where b = batch_size / process_count. They raise `DataError` at
once for impossible sizes, and for an unreadable image from the `next` that
reaches it; an unreadable clip is masked, up to a share of them.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lst.data.cache import cached
from lst.data.examples import Batch, DataError, Split
from lst.data.load import PADDING, Loader, image_shape
from lst.data.views import Choice, viewed


class Position(NamedTuple):
  """Where a run is in its data: enough to go on exactly, for a checkpoint.

  Attributes:
    step: the number of global batches consumed.
    seed: the seed of the order.
    batch_size: examples in a global batch.
    examples: examples in the split.
    split: the split string.
  """

  step: int
  seed: int
  batch_size: int
  examples: int
  split: str

  @property
  def epoch(self) -> float:
    """Passes over the split so far, with the fraction of the current one."""
    return self.step * self.batch_size / self.examples


def position(
  split: Split, *, batch_size: int, seed: int, step: int
) -> Position:
  """The position after `step` global batches of `train_batches`."""
  return Position(step, seed, batch_size, split.size, split.name)


def check_position(saved: Position, now: Position) -> None:
  """Raises DataError unless both positions are on the same stream."""
  for field in ('seed', 'batch_size', 'examples', 'split'):
    was, is_ = getattr(saved, field), getattr(now, field)
    if was != is_:
      raise DataError(
        f'The checkpoint at step {saved.step} was reached with {field} '
        f'{was!r}, this run has {is_!r}: the order of the data would not go '
        'on as it was. Restore the setting or start in a new workdir.'
      )


def train_batches(
  split: Split,
  *,
  batch_size: int,
  image_size: int | tuple[int, ...],
  resize: str = 'bilinear',
  seed: int = 0,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  workers: int = 2,
  prefetch: int = 4,
  cache_bytes: int = 2**31,
  augment: str = 'none',
  views: int = 1,
) -> Iterator[Batch]:
  """Endless training batches, shuffled anew in every epoch.

  The arguments and errors are at the head of this file. `close()` of the
  iterator ends its threads.

  >>> from lst.data import procedural
  >>> split = Split('val', procedural.source('count').splits['val'])
  >>> batch = next(train_batches(split, batch_size=4, image_size=32))
  >>> batch.inputs.shape, batch.label.shape
  ((4, 32, 32, 3), (4,))
  """
  rows = viewed(split, augment, views)
  kept = cached(
    rows, image_size=image_size, resize=resize, max_bytes=cache_bytes
  )
  load = Loader(kept, image_shape(image_size), resize)
  return train_rows(
    split.size, load, batch_size=batch_size, seed=seed, views=views,
    start_step=start_step, process_index=process_index,
    process_count=process_count, workers=workers, prefetch=prefetch,
  )


def train_rows(
  examples: int,
  load: Callable[[np.ndarray], Any],
  *,
  batch_size: int,
  seed: int = 0,
  views: int = 1,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  workers: int = 2,
  prefetch: int = 4,
) -> Iterator[Any]:
  """What `load` makes of the rows of each training batch, endlessly.

  `train_batches` is this with a `load` that decodes images; with that of a
  cache of features the same rows come in the same order.

  Args:
    examples: their number; row = example * views + view.
    load: from rows, int64 (b,), to a batch; called in threads.

  The other arguments and the errors are at the head of this file.
  """
  rows = _rows(batch_size, process_index, process_count)
  if start_step < 0:
    raise DataError(f'start_step is {start_step}: it counts from 0.')
  import grain

  order = grain.MapDataset.range(examples).shuffle(_mix(seed)).repeat()
  choose = Choice(examples, views, batch_size, _mix(seed))
  batches = order.batch(batch_size).map_with_index(choose).map(rows)
  return _iterate(batches[start_step:].map(load), workers, prefetch)


def eval_batches(
  split: Split,
  *,
  batch_size: int,
  image_size: int | tuple[int, ...],
  resize: str = 'bilinear',
  process_index: int = 0,
  process_count: int = 1,
  workers: int = 2,
  prefetch: int = 4,
) -> Iterator[Batch]:
  """One pass in the order of the split, padded and masked.

  Every host gets ceil(size / batch_size) batches of the same shape, whatever
  its share of the examples. Wrap the split in `cached` to decode it once for
  many passes. The arguments and errors are at the head of this file.
  """
  load = Loader(split, image_shape(image_size), resize)
  return eval_rows(
    np.arange(split.size), load, batch_size=batch_size,
    process_index=process_index, process_count=process_count, workers=workers,
    prefetch=prefetch,
  )


def eval_rows(
  rows: np.ndarray,
  load: Callable[[np.ndarray], Any],
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  workers: int = 2,
  prefetch: int = 4,
) -> Iterator[Any]:
  """What `load` makes of some rows, once, in their order.

  Args:
    rows: integers (n,).
    load: from rows, int64 (b,), of which `PADDING` is none, to a batch.

  The other arguments and the errors are at the head of this file.
  """
  own = _rows(batch_size, process_index, process_count)
  import grain

  number = -(-len(rows) // batch_size)
  missing = number * batch_size - len(rows)
  padded = np.pad(rows, (0, missing), constant_values=PADDING)

  def indices(step: int) -> np.ndarray:
    return own(padded[step * batch_size : (step + 1) * batch_size])

  batches = grain.MapDataset.range(number).map(indices).map(load)
  return _iterate(batches, workers, prefetch)


def _rows(batch_size: int, index: int, count: int) -> Callable:
  """Cuts this host's rows out of a global batch."""
  if batch_size < 1 or batch_size % count:
    raise DataError(
      f'batch_size {batch_size} cannot be shared by {count} process(es): '
      f'make it a positive multiple of {count}.'
    )
  if not 0 <= index < count:
    raise DataError(f'process_index {index} is outside 0 to {count - 1}.')
  own = batch_size // count
  return lambda batch: batch[index * own : (index + 1) * own]


def _mix(seed: int) -> int:
  """Spreads seeds: Grain shuffles epoch e with seed + e."""
  return int(np.random.SeedSequence(seed).generate_state(1)[0])


def _iterate(batches, workers: int, prefetch: int) -> Iterator[Any]:
  """Makes batches ahead in threads."""
  import grain

  options = grain.ReadOptions(
    num_threads=workers,
    prefetch_buffer_size=max(prefetch, workers) if workers else 0,
  )
  return iter(batches.to_iter_dataset(options))
