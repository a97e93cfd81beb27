"""A fingerprint of examples: it changes if any image or label does."""

import hashlib
import os
from typing import Protocol, runtime_checkable

import numpy as np

from lst import staging
from lst.data.examples import Example, Split
from lst.data.splits import Slices


@runtime_checkable
class Stamped(Protocol):
  """Examples that can be told from others without being read."""

  def stamp(self) -> str:
    """A text that is another one if any example is."""


def fingerprint(split: Split) -> str:
  """The sha256 of a split, in 64 hexadecimal digits.

  Of a file it takes path, size and time of last change, or that it is missing,
  of anything else in memory the bytes, and the label of each; the stamp of a
  source that has one.

  Args:
    split: as `build` gives it.

  Raises:
    OSError: a file cannot be looked at.

  >>> a, b = Example(np.zeros((1, 1), np.uint8), 3), Example(b'png', 3)
  >>> whole, same = Split('all', [a, b]), Split('all', [a, b])
  >>> fingerprint(whole) == fingerprint(same)
  True
  >>> fingerprint(whole) == fingerprint(Split('all', [b, a]))
  False
  """
  source = split.source
  slices = [(source, 0, len(source))]
  if isinstance(source, Slices):
    slices = source.slices
  hashed = hashlib.sha256()
  for source, start, stop in slices:
    if isinstance(source, Stamped):
      hashed.update(f'{source.stamp()}[{start}:{stop}]'.encode())
    else:
      for index in range(start, stop):
        hashed.update(_digest(source[index]))
  return hashed.hexdigest()


def stamp_of(path: str) -> str:
  """The path, size and time of last change of a file; or that it is missing.

  Whoever reads it says what becomes of that.
  """
  name = staging.name_of(path)
  try:
    stat = os.stat(path)
  except (FileNotFoundError, NotADirectoryError):
    return f'{name}:missing'
  return f'{name}:{stat.st_size}:{stat.st_mtime_ns}'


def _digest(example: Example) -> bytes:
  image = example.image
  if isinstance(image, np.ndarray):
    what = f'{image.dtype}{image.shape}'
    content = np.ascontiguousarray(image).tobytes()
  elif isinstance(image, str):
    what, content = 'file', stamp_of(image).encode()
  else:
    what, content = 'bytes', image
  head = f'{what}:{len(content)}:{example.label};'.encode()
  return hashlib.sha256(head + content).digest()
