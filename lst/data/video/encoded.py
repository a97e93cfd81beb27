"""Videos in TFDS records, left as they are encoded: without TensorFlow."""

import functools
from typing import Any

# As TFDS names it in the features of a prepared dataset.
VIDEO = 'tensorflow_datasets.core.features.video_feature.Video'


@functools.cache
def frames() -> type:
  """What stands for `tfds.features.Video`, which takes TensorFlow to be opened.

  In a record a video is a sequence of encoded images, and they stay so. From
  the first call on, TFDS makes this of every such feature that it opens in
  this process (`ALIASES` is its own way to rename a feature).
  """
  import tensorflow_datasets as tfds

  class Frames(tfds.features.Sequence):
    """A sequence of encoded images."""

    ALIASES = [VIDEO]  # noqa: RUF012

    def __init__(self):
      super().__init__(tfds.features.Text())

    @classmethod
    def from_json_content(cls, value: Any) -> 'Frames':
      """Of the shape and the format nothing is needed."""
      del value
      return cls()

  return Frames


def kinds() -> tuple[type, ...]:
  """Features that are videos: their frames, or the bytes of a file."""
  import tensorflow_datasets as tfds

  return frames(), tfds.features.Text
