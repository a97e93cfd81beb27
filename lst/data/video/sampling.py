"""Which frames of a video make a clip, and which window of them.

A place in time or space is an integer out of `UNIT`, so that a view is the
same on any machine, whatever the length and size of the video.
"""

from typing import NamedTuple

from lst.data.examples import DataError
from lst.data.procedural.dice import Dice
from lst.data.splits import nearest

UNIT = 1 << 16
CENTRE = UNIT // 2
MODES = ('uniform', 'dense')
# By name: whether views beyond the first are drawn, and whether mirrored ones
# are among them. 'grid' are the views of a test.
AUGMENTS = {'none': (False, False), 'crop': (True, False), 'flip': (True, True),
            'grid': (False, False)}


class Sampling(NamedTuple):
  """How clips are cut out of videos.

  Attributes:
    frames: T, of a clip.
    mode: 'uniform' cuts the whole video into T equal parts and takes a frame
      of each; 'dense' takes T frames `stride` apart.
    stride: of 'dense', in frames.
    short_side: pixels that the shorter side is brought to ahead of the
      window; 0 = no more than the window needs.
    clips, crops: of a test, in time and in space; their logits are averaged.
  """

  frames: int
  mode: str = 'uniform'
  stride: int = 1
  short_side: int = 0
  clips: int = 1
  crops: int = 1

  @property
  def views(self) -> int:
    """Clips of each video in a test."""
    return self.clips * self.crops

  def check(self) -> None:
    """Raises DataError for what makes no clip."""
    if self.mode not in MODES:
      raise DataError(
        f'config.data.video.sampling is {self.mode!r}, but it is one of '
        f'{", ".join(MODES)}.{nearest(self.mode, MODES)}'
      )
    for field, value in (
      ('frames', self.frames), ('stride', self.stride),
      ('test_clips', self.clips),
    ):
      if value < 1:
        raise DataError(
          f'config.data.video.{field} is {value}: it counts from 1.')
    if self.crops not in (1, 3):
      raise DataError(
        f'config.data.video.test_crops is {self.crops}: it is 1 (the centre) '
        'or 3 (both ends of the longer side, too).'
      )
    if self.short_side < 0:
      raise DataError(
        f'config.data.video.short_side is {self.short_side}: it is a number of '
        'pixels, or 0 for no more than the window needs.'
      )


class View(NamedTuple):
  """One clip of a video, before the video is known.

  Attributes:
    times: for 'uniform', a place within each of the T parts; for 'dense' the
      place of the clip among all that the video holds, T times the same.
    row, column: place of the window among all that the frame holds.
    mirrored: left and right exchanged.
    longer: place along the longer side, the other centred, in place of `row`
      and `column`.
  """

  times: tuple[int, ...]
  row: int = CENTRE
  column: int = CENTRE
  mirrored: bool = False
  longer: int | None = None


def view(sampling: Sampling, augment: str, number: int, index: int) -> View:
  """View `number` of video `index`: a pure function of its arguments.

  View 0 is the centre in time and space, but for 'grid', whose views go
  through the moments and, of each, through the windows.

  >>> view(Sampling(2, crops=3), 'grid', 2, 0).longer
  65535
  """
  if augment == 'grid':
    return _of_test(sampling, number)
  drawn, mirrored = AUGMENTS[augment]
  if not number or not drawn:
    return View((CENTRE,) * sampling.frames)
  dice = Dice(f'lst.data.video/{augment}/{index}/{number}')
  times = [dice.between(0, UNIT - 1) for _ in range(sampling.frames)]
  if sampling.mode == 'dense':
    times = times[:1] * sampling.frames
  row, column = (dice.between(0, UNIT - 1) for _ in range(2))
  return View(
    tuple(times), row, column, bool(mirrored and dice.between(0, 1))
  )


def _of_test(sampling: Sampling, number: int) -> View:
  clip, crop = divmod(number, sampling.crops)
  if sampling.mode == 'uniform':
    time = UNIT * (2 * clip + 1) // (2 * sampling.clips)
  else:
    time = _even(clip, sampling.clips)
  return View(
    (time,) * sampling.frames, longer=_even(crop, sampling.crops)
  )


def _even(k: int, count: int) -> int:
  """The k-th of `count` places from one end to the other."""
  return CENTRE if count == 1 else min(UNIT * k // (count - 1), UNIT - 1)


def indices(view: View, sampling: Sampling, total: int) -> list[int]:
  """The frames of a clip in a video of `total` frames, in order.

  Where the video is shorter than the clip, its last frame is repeated
  ('dense') or its frames are each taken several times ('uniform').

  >>> centre = View((CENTRE,) * 4)
  >>> indices(centre, Sampling(4), 16)
  [2, 6, 10, 14]
  >>> indices(centre, Sampling(4, 'dense', stride=2), 16)
  [5, 7, 9, 11]
  >>> indices(centre, Sampling(4, 'dense', stride=2), 5)
  [0, 2, 4, 4]
  """
  count = sampling.frames
  if sampling.mode == 'uniform':
    return [
      (k * UNIT + time) * total // (count * UNIT)
      for k, time in enumerate(view.times)
    ]
  span = (count - 1) * sampling.stride + 1
  start = view.times[0] * (max(total - span, 0) + 1) // UNIT
  return [min(start + k * sampling.stride, total - 1) for k in range(count)]


def resized(
  size: tuple[int, int], window: tuple[int, int], short_side: int
) -> tuple[int, int]:
  """(height, width) that a frame is brought to, so that it holds the window.

  >>> resized((240, 320), (224, 224), 256)
  (256, 341)
  >>> resized((64, 64), (64, 64), 0)
  (64, 64)
  """
  scale = max(
    short_side / min(size), *(w / s for w, s in zip(window, size, strict=True))
  )
  return tuple(
    max(round(s * scale), w) for s, w in zip(size, window, strict=True)
  )


def window(
  view: View, size: tuple[int, int], shape: tuple[int, int]
) -> tuple[slice, slice]:
  """Rows and columns of the window of `shape` in a frame of `size`."""
  places = view.row, view.column
  if view.longer is not None:
    wide = size[1] >= size[0]
    places = (CENTRE, view.longer) if wide else (view.longer, CENTRE)
  out = []
  for place, whole, part in zip(places, size, shape, strict=True):
    start = place * (whole - part + 1) // UNIT
    out.append(slice(start, start + part))
  return tuple(out)
