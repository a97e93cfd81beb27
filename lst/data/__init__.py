"""Data: sources of labelled images, and the batches made of them."""

from lst.data.decode import decode, normalise, resize
from lst.data.examples import Batch, Data, DataError, Example, Source, Split
from lst.data.fingerprint import fingerprint
from lst.data.load import PADDING, Loader
from lst.data.pipeline import (
  Position,
  cached,
  check_position,
  eval_batches,
  eval_rows,
  position,
  train_batches,
  train_rows,
)
from lst.data.sources import OF_VIDEOS, SOURCES, build
from lst.data.views import view, viewed

__all__ = [
  'OF_VIDEOS',
  'PADDING',
  'SOURCES',
  'Batch',
  'Data',
  'DataError',
  'Example',
  'Loader',
  'Position',
  'Source',
  'Split',
  'build',
  'cached',
  'check_position',
  'decode',
  'eval_batches',
  'eval_rows',
  'fingerprint',
  'normalise',
  'position',
  'resize',
  'train_batches',
  'train_rows',
  'view',
  'viewed',
]
