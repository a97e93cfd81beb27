"""Data: sources of labelled images, and the batches made of them."""

from lst.data.decode import decode, normalise, resize
from lst.data.examples import Batch, Data, DataError, Example, Source, Split
from lst.data.pipeline import (
  Position,
  cached,
  check_position,
  eval_batches,
  position,
  train_batches,
)
from lst.data.sources import SOURCES, build

__all__ = [
  'SOURCES',
  'Batch',
  'Data',
  'DataError',
  'Example',
  'Position',
  'Source',
  'Split',
  'build',
  'cached',
  'check_position',
  'decode',
  'eval_batches',
  'normalise',
  'position',
  'resize',
  'train_batches',
]
