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
      uint8 of shape (h, w, 3) or (h, w). Of a video one of
      `lst.data.video.decode.Video`, and of a part of it a
      `lst.data.video.clips.Clip`.
    label: the index of its class.
  """

  image: Any
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
    video: of videos a `lst.data.video.clips.Videos`, else None.
  """

  name: str
  source: Examples
  video: Any = None

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

  @property
  def frames(self) -> int:
    """Frames of a clip; 0 of images."""
    return self.train.video.sampling.frames if self.train.video else 0

  @property
  def test_views(self) -> tuple[str, int]:
    """The augmentation and the number of the views that are tested."""
    if not (self.test and self.test.video):
      return 'none', 1
    return 'grid', self.test.video.sampling.views

  @property
  def broken(self) -> dict[str, int]:
    """Videos of each split that could not be read so far; {} of images."""
    splits = (('train', self.train), ('val', self.val), ('test', self.test))
    return {
      name: len(split.video.ledger.broken)
      for name, split in splits if split and split.video
    }


class Batch(NamedTuple):
  """The part of one global batch that this host feeds.

  Attributes:
    inputs: the pixels, 0 to 255, uint8 (b, h, w, 3), of clips (b, t, h, w, 3);
      from a cache of features their taps, each (b, n, d) or (b, t, s, d).
    label: class indices.
    mask: 1 for an example, 0 for padding and for a clip that cannot be read
      (whose image and label are 0).
  """

  inputs: Any
  label: jt.Int32[np.ndarray, 'b']
  mask: jt.Float32[np.ndarray, 'b']


class Source(NamedTuple):
  """What a source offers: all its named splits and its classes.

  Attributes:
    name, splits, classes: of it.
    video: whether its examples are videos.
  """

  name: str
  splits: dict[str, Examples]
  classes: tuple[str, ...]
  video: bool = False
