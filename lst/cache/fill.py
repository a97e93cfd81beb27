"""From produced features to the rows that a store takes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from lst.cache import forms
from lst.cache.errors import CacheError
from lst.cache.rows import Produced

Progress = Callable[[int, int], None]


def stored_shapes(like: Sequence[Any], codebook: forms.Codebook):
  """Shapes and types of what is stored for taps of some shapes."""
  like = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in like)
  return jax.eval_shape(forms.encode, like, codebook)


def encoded(
    produced: Iterator[Produced], codebook: forms.Codebook, expected: int,
    progress: Progress | None = None,
) -> Iterator[list[np.ndarray]]:
  """The arrays to store of each batch: the labels, then the taps.

  The device is a batch ahead: the next one is on its way while this one is
  copied to the host and written.

  Raises:
    CacheError: not as many rows as expected came.
  """
  done = 0
  for label, taps in _ahead(_encode(produced, codebook)):
    count = len(label)
    if any(len(tap) < count for tap in taps) or done + count > expected:
      raise CacheError(_wrong_count(done + count, expected))
    done += count
    yield [label, *(np.asarray(tap)[:count] for tap in taps)]
    if progress:
      progress(done, expected)
  if done != expected:
    raise CacheError(_wrong_count(done, expected))


def _encode(produced, codebook):
  encode = jax.jit(forms.encode)
  for taps, label in produced:
    yield np.asarray(label, np.int32), encode(tuple(taps), codebook)


def _ahead(items):
  before = None
  for item in items:
    if before is not None:
      yield before
    before = item
  if before is not None:
    yield before


def _wrong_count(came: int, expected: int) -> str:
  return (f'{came} rows were produced where {expected} were asked for: '
          '`produce(rows)` has to give each row once, in order')
