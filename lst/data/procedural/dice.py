"""Random integers that are a pure function of a name, on every machine."""

import hashlib

import numpy as np

_BLOCK = 32 * 1024


class Dice:
  """A stream of integers from SHAKE-256 of a key.

  No floating point and no generator of a library is involved, so the stream
  is the same for every version and processor.
  """

  def __init__(self, key: str):
    self._key = key
    self._blocks = 0
    self._left = b''

  def _take(self, count: int) -> bytes:
    while len(self._left) < count:
      key = f'{self._key}#{self._blocks}'.encode()
      self._left += hashlib.shake_256(key).digest(_BLOCK)
      self._blocks += 1
    taken, self._left = self._left[:count], self._left[count:]
    return taken

  def between(self, low: int, high: int) -> int:
    """An integer from `low` to `high`, both included."""
    word = int.from_bytes(self._take(4), 'little')
    return low + (word * (high - low + 1) >> 32)

  def choice(self, options):
    """One of a sequence."""
    return options[self.between(0, len(options) - 1)]

  def bytes(self, *shape: int) -> np.ndarray:
    """Integers from 0 to 255, as int64 of a shape."""
    taken = np.frombuffer(self._take(int(np.prod(shape))), np.uint8)
    return taken.reshape(shape).astype(np.int64)
