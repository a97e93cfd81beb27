"""Frames out of an encoded video, by PyAV: only those that are asked for."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lst.data.decode import RGB, decode
from lst.data.examples import DataError

# A file's bytes, its path, the frames as pixels, or each as an encoded image.
Video = bytes | str | np.ndarray | Sequence[bytes]
Choose = Callable[[int], list[int]]


def require() -> Any:
  """PyAV, or a DataError that says how to get it."""
  try:
    import av
  except ImportError as error:
    raise DataError(
      'Reading videos takes PyAV, which is not installed: pip install '
      "'lst[video]' (or pip install av)."
    ) from error
  return av


def read(video: Video, choose: Choose) -> list[RGB]:
  """Decodes some frames of a video to 8-bit RGB.

  A rotation that the file asks of a player is *not* applied, as with images.

  Args:
    video: see `Video`.
    choose: from the number of frames to the indices that are wanted, in any
      order, repeated or not.

  Returns:
    uint8 (h, w, 3) for each index.

  Raises:
    DataError: PyAV is not installed.
    OSError, ValueError: the file is missing, damaged or holds no frame.
  """
  if isinstance(video, np.ndarray) or not isinstance(video, (bytes, str)):
    _check(len(video))
    return [decode(video[i]) for i in choose(len(video))]
  av = require()
  try:
    # One thread: clips are decoded side by side by those who ask for them.
    with av.open(io.BytesIO(video) if isinstance(video, bytes) else video) as f:
      if not f.streams.video:
        raise ValueError('it holds no video')
      stream = f.streams.video[0]
      stream.codec_context.thread_count = 1
      return _read(f, stream, choose)
  except av.FFmpegError as error:
    raise ValueError(f'it cannot be decoded: {error}') from error


def _read(file, stream, choose: Choose) -> list[RGB]:
  packets = [p for p in file.demux(stream) if p.size and not p.is_discard]
  _check(len(packets))
  times = sorted(p.pts for p in packets if p.pts is not None)
  wanted = choose(len(packets))
  if len(set(times)) < len(packets):
    # Nothing says when a frame is shown: all have to be counted.
    found = _in_order(file, stream, set(wanted))
    keys = wanted
  else:
    keys = [times[i] for i in wanted]
    starts = sorted(p.pts for p in packets if p.is_keyframe)
    found = _at(file, stream, sorted(set(keys)), starts)
  lost = [i for i, key in zip(wanted, keys, strict=True) if key not in found]
  if lost:
    raise ValueError(
      f'frame {lost[0]} of {len(packets)} cannot be decoded: the file is '
      'damaged'
    )
  return [found[key] for key in keys]


def _check(total: int) -> None:
  if not total:
    raise ValueError('it is empty: it holds no frame')


def _in_order(file, stream, wanted: set[int]) -> dict[int, RGB]:
  file.seek(0)
  found = {}
  for index, frame in enumerate(file.decode(stream)):
    if index in wanted:
      found[index] = frame.to_ndarray(format='rgb24')
    if len(found) == len(wanted):
      break
  return found


def _at(file, stream, wanted: list[int], starts: list[int]) -> dict[int, RGB]:
  """{time: frame}; where frames lie far apart, those between are skipped."""
  found = {}
  while len(found) < len(wanted):
    before = len(found)
    left = [time for time in wanted if time not in found]
    file.seek(left[0], stream=stream)
    _run(file, stream, left, starts, found)
    if left[0] not in found:
      # Some containers land behind what they are sent to: from the start then.
      file.seek(min(starts, default=0), stream=stream)
      _run(file, stream, left, [], found)
    if len(found) == before:
      break
  return found


def _run(file, stream, left, starts, found) -> None:
  """Decodes on until all are found, or a key frame is nearer to the next."""
  left = list(left)
  for frame in file.decode(stream):
    if frame.pts in left:
      found[frame.pts] = frame.to_ndarray(format='rgb24')
      left.remove(frame.pts)
      if not left or any(frame.pts < s <= left[0] for s in starts):
        return
