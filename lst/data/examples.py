"""What crosses the boundary of `lst.data`: examples, splits, batches."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jaxtyping as jt
import numpy as np


class DataError(Exception):
  """Data that is missing, malformed or not what the config says it is.

  The message says what is wrong, in which file or split, and what to do.
  """


class Example(NamedTuple):
  """One labelled image, before decoding.

  Attributes:
    image: the encoded file as bytes, the path of a file, or the pixels as
      uint8 of shape (h, w, 3) or (h, w).
    label: the index of its class.
  """

  image: bytes | str | np.ndarray
  label: int


@runtime_checkable
class Examples(Protocol):
  """Random access to examples, safe to read from several threads."""

  def __len__(self) -> int:
    """The number of examples."""

  def __getitem__(self, index: int) -> Example:
    """The example at `index`, the same at every call."""


class Split(NamedTuple):
  """Some examples under the name they were asked for.

  The length of a NamedTuple is its number of fields: use `split.size`.

  Attributes:
    name: the split string, such as 'train[:800]'.
    source: random access to the examples.
  """

  name: str
  source: Examples

  @property
  def size(self) -> int:
    """The number of examples."""
    return len(self.source)


class Data(NamedTuple):
  """The splits of one experiment.

  Attributes:
    train: the examples to learn from.
    val: the examples to choose by, or None.
    test: the examples to report, or None.
    classes: the class names; a label is an index into them.
    name: what the data are called in logs and results.
  """

  train: Split
  val: Split | None
  test: Split | None
  classes: tuple[str, ...]
  name: str


class Batch(NamedTuple):
  """The part of one global batch that this host feeds.

  Attributes:
    inputs: the pixels, 0 to 255, uint8 (b, h, w, 3); from a cache of features
      their taps, each (b, n, d).
    label: class indices.
    mask: 1 for an example, 0 for padding (whose image and label are 0).
  """

  inputs: Any
  label: jt.Int32[np.ndarray, 'b']
  mask: jt.Float32[np.ndarray, 'b']


class Source(NamedTuple):
  """What a source offers: all its named splits and its classes."""

  name: str
  splits: dict[str, Examples]
  classes: tuple[str, ...]
