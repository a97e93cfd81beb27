"""Clips as examples, and what becomes of those that cannot be read."""

import logging
import threading
from typing import NamedTuple

import numpy as np

from lst.data.decode import resize
from lst.data.examples import DataError, Example, Split
from lst.data.splits import nearest
from lst.data.video import decode, sampling
from lst.data.video.sampling import Sampling, View

_LOG = logging.getLogger('lst.data')


class BrokenClipError(Exception):
  """A clip that cannot be read; it is on the ledger and is skipped."""


class Ledger:
  """The videos of one split that cannot be read, on this host.

  Attributes:
    broken: {index of the example: why}.
  """

  def __init__(self, name: str, size: int, most: float):
    self._name, self._size, self._most = name, size, most
    self._lock = threading.Lock()
    self.broken: dict[int, str] = {}

  def add(self, index: int, why: str) -> None:
    """Names a video in the log, once.

    Raises:
      DataError: there are more than the share that is allowed.
    """
    with self._lock:
      if index not in self.broken:
        self.broken[index] = why
        _LOG.warning(
          'skipped: %s. %d of %d videos of %r so far.', why, len(self.broken),
          self._size, self._name,
        )
      if len(self.broken) > self._most * self._size:
        raise DataError(self._too_many())

  def _too_many(self) -> str:
    first = '\n  '.join(list(self.broken.values())[:10])
    return (
      f'{len(self.broken)} of the {self._size} videos of {self._name!r} cannot '
      f'be read, more than the share of {self._most:g} that config.data.video.'
      f'max_broken allows. Among them:\n  {first}\nReplace them, take them out '
      'of the data, or raise config.data.video.max_broken.'
    )


class Videos(NamedTuple):
  """What makes a split one of videos.

  Attributes:
    sampling: how clips are cut out.
    ledger: of those that cannot be read.
  """

  sampling: Sampling
  ledger: Ledger


class Clip(NamedTuple):
  """One clip of one video, to be read: the `image` of an `Example`."""

  video: decode.Video
  index: int
  view: View
  videos: Videos

  def read(self, shape: tuple[int, int, int], method: str) -> np.ndarray:
    """Decodes, resizes and cuts.

    Args:
      shape: (frames, height, width).
      method: of resizing, a key of `lst.data.decode.RESIZES`.

    Returns:
      uint8 (T, h, w, 3).

    Raises:
      BrokenClipError: it cannot be read, and is on the ledger.
      DataError: too many cannot be, or PyAV is missing.
    """
    how = self.videos.sampling
    try:
      frames = decode.read(
        self.video, lambda n: sampling.indices(self.view, how, n)
      )
    except (OSError, ValueError) as error:
      file = f' ({self.video})' if isinstance(self.video, str) else ''
      self.videos.ledger.add(self.index, f'video {self.index}{file}: {error}')
      raise BrokenClipError from error
    return np.stack([self._cut(frame, shape[1:], method) for frame in frames])

  def _cut(self, frame, shape, method):
    size = sampling.resized(
      frame.shape[:2], shape, self.videos.sampling.short_side
    )
    frame = resize(frame, size, method)
    frame = frame[sampling.window(self.view, size, shape)]
    return frame[:, ::-1] if self.view.mirrored else frame


class Clips:
  """All views of some videos, one after the other."""

  def __init__(self, split: Split, augment: str, views: int):
    self._split, self._augment, self._views = split, augment, views

  def __len__(self) -> int:
    return self._split.size * self._views

  def __getitem__(self, row: int) -> Example:
    index, number = divmod(row, self._views)
    video, label = self._split.source[index]
    how = self._split.video
    view = sampling.view(how.sampling, self._augment, number, index)
    return Example(Clip(video, index, view, how), label)


def clips(split: Split, augment: str = 'none', views: int = 1) -> Split:
  """A split of videos as one of clips, in the rows example * views + view.

  Raises:
    DataError: an unknown augmentation, or a number of views that it lacks.
  """
  if augment not in sampling.AUGMENTS:
    raise DataError(
      f'config.data.augment is {augment!r}, but of videos it is one of none, '
      f'crop, flip.{nearest(augment, sampling.AUGMENTS)}'
    )
  drawn = augment in ('crop', 'flip')
  if views < (2 if drawn else 1) or (augment == 'none' and views > 1):
    raise DataError(
      f'config.data.views is {views} with config.data.augment={augment!r}: of '
      "videos, view 0 is the centre in time and space, all that 'none' has; "
      "'crop' draws a moment and a window for each view more, 'flip' mirrors "
      'some of them. '
      "Set config.data.views to 2 or more for these, to 1 for 'none'."
    )
  return split._replace(source=Clips(split, augment, views))
