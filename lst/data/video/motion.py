"""The offline videos: scenes, drawn and really encoded once, to a folder."""

import json
import logging
import os

import numpy as np

from lst.data.examples import DataError, Source
from lst.data.files import Files
from lst.data.video import decode, scenes

VERSION = 1
SIZES = {'train': 800, 'val': 200, 'test': 400}
RATE = 8
INDEX = 'index.json'
_LOG = logging.getLogger('lst.data')


def source(path: str = '') -> Source:
  """8 classes: 800 'train', 200 'val', 400 'test' clips of 16 frames.

  Args:
    path: the folder that they are written to by whoever first asks for them;
      by default ~/.cache/lst/motion.

  Raises:
    DataError: PyAV is not installed, or the folder cannot be written.
  """
  decode.require()
  root = os.path.expanduser(path or '~/.cache/lst/motion')
  folder = os.path.join(root, f'motion-{VERSION}')
  try:
    _complete(folder, SIZES)
  except OSError as error:
    raise DataError(
      f'The clips of the source motion cannot be written to {folder}: {error}.'
      ' Set config.data.path to a folder that can be written.'
    ) from error
  splits = {
    split: Files(
      [os.path.join(folder, name) for name in names(split, size)],
      [label_of(k) for k in range(size)],
    )
    for split, size in SIZES.items()
  }
  return Source('motion', splits, scenes.CLASSES, video=True)


def names(split: str, size: int) -> list[str]:
  """The files of a split, below the folder."""
  return [f'{split}/{k:05d}.mp4' for k in range(size)]


def label_of(index: int) -> int:
  """The classes take turns, so they are balanced."""
  return index % len(scenes.CLASSES)


def encode(path: str, frames: np.ndarray, options: dict[str, str]) -> None:
  """Writes an H.264 file.

  Args:
    path: of the file, which is replaced in one move.
    frames: uint8 (T, h, w, 3), both sides even.
    options: of the encoder.
  """
  av = decode.require()
  temporary = f'{path}.part'
  with av.open(temporary, 'w', format='mp4') as file:
    stream = file.add_stream('libx264', rate=RATE, options=options)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    for frame in frames:
      picture = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(frame), format='rgb24'
      )
      file.mux(stream.encode(picture))
    file.mux(stream.encode())
  os.replace(temporary, path)


# Every frame is coded by itself, at one quality: no artefact tells which came
# first.
ALONE = {'g': '1', 'qp': '20', 'threads': '1'}


def _complete(folder: str, sizes: dict[str, int]) -> None:
  """Draws the clips that are not there at their size.

  The index is written last, in one move, so a folder without it was not
  finished; every clip, too, comes in one move. One process writes at a time.
  """
  if not _missing(folder, sizes):
    return
  from filelock import FileLock

  os.makedirs(folder, exist_ok=True)
  with FileLock(os.path.join(folder, '.lock')):
    missing = _missing(folder, sizes)
    if missing:
      _LOG.warning('drawing %d clips into %s, once', len(missing), folder)
    for name in missing:
      split, file = name.split('/')
      os.makedirs(os.path.join(folder, split), exist_ok=True)
      label = label_of(int(file[:5]))
      encode(os.path.join(folder, name), scenes.draw(name, label), ALONE)
    if missing:
      _write_index(folder, sizes)


def _write_index(folder: str, sizes: dict[str, int]) -> None:
  content = {
    name: os.path.getsize(os.path.join(folder, name))
    for split, size in sizes.items() for name in names(split, size)
  }
  path = os.path.join(folder, INDEX)
  with open(f'{path}.part', 'w', encoding='utf-8') as file:
    json.dump(content, file)
  os.replace(f'{path}.part', path)


def _missing(folder: str, sizes: dict[str, int]) -> list[str]:
  """Clips that are not there, or not at the size that the index says."""
  try:
    with open(os.path.join(folder, INDEX), encoding='utf-8') as file:
      index = json.load(file)
  except (OSError, ValueError):
    index = {}
  out = []
  for split, size in sizes.items():
    for name in names(split, size):
      try:
        there = os.path.getsize(os.path.join(folder, name))
      except OSError:
        there = None
      # Without an index, what is there was put there in one move.
      if there is None or index.get(name, there) != there:
        out.append(name)
  if not out and not index:
    _write_index(folder, sizes)
  return out
