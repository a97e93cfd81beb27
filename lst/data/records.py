"""Records of a TFDS split: what is read of each, and how."""

import bisect
import itertools
from typing import NamedTuple

from lst.data.decode import decode
from lst.data.examples import DataError, Example
from lst.data.fingerprint import stamp_of
from lst.data.readings import READINGS, Reading
from lst.data.splits import nearest
from lst.data.video import encoded


class How(NamedTuple):
  """The feature that is the image, and how a record gives its label.

  Attributes:
    image_key: the feature; of videos a sequence of encoded frames, or a file.
    name, reading: of what gives the label.
    video: whether it is a video.
  """

  image_key: str
  name: str
  reading: Reading
  video: bool = False


class Records:
  """The records of one split: the encoded image and the label of each.

  Attributes:
    how: what is read of a record.
  """

  def __init__(self, records, features, how: How, files, lengths):
    import tensorflow_datasets as tfds

    self._records = records
    self._files = tuple(map(str, files))
    # Where the records of each file end.
    self._ends = tuple(itertools.accumulate(lengths))
    self.how = how
    # Only these are parsed: masks and boxes would cost their decoding.
    self._features = tfds.features.FeaturesDict(
      {key: features[key] for key in (how.image_key, *how.reading.features)}
    )
    # Videos are encoded as they come: see `encoded.frames`.
    skip = {how.image_key: tfds.decode.SkipDecoding()}
    self._decoders = {} if how.video else skip

  def __len__(self) -> int:
    return len(self._records)

  def stamp(self) -> str:
    """Of the files and the features: reading all records would take long."""
    return '|'.join((
      self.how.image_key, self.how.name, *map(stamp_of, self._files)
    ))

  def __getitem__(self, index: int) -> Example:
    record = self._features.deserialize_example_np(
      self._record(index), decoders=self._decoders
    )
    image, reading = record[self.how.image_key], self.how.reading
    label = reading.label(record)
    if not 0 <= label < len(reading.classes):
      raise ValueError(
        f'its label is {label}, not 0 to {len(reading.classes) - 1} (TFDS '
        'gives -1 where a split is not labelled)'
      )
    if reading.pixels is not None:
      image = reading.pixels(decode(image))
    return Example(image, int(label))

  def _record(self, index: int) -> bytes:
    try:
      return self._records[index]
    except Exception as error:
      file = self._files[bisect.bisect_right(self._ends, index)]
      raise ValueError(
        f'{file} is damaged ({error}). Copy it again, or prepare the dataset '
        'again.'
      ) from error


def how_to_read(
  folder, features, image_key: str, label_key: str, reading: str,
  video: bool = False,
) -> How:
  """What is read of a record, once the features are what they must be."""
  import tensorflow_datasets as tfds

  kinds = encoded.kinds() if video else (tfds.features.Image,)
  _check_feature(folder, features, image_key, *kinds)
  if not reading:
    _check_feature(folder, features, label_key, tfds.features.ClassLabel)
    plain = Reading(
      (label_key,), tuple(features[label_key].names),
      lambda record: record[label_key],
    )
    return How(image_key, label_key, plain, video)
  if reading not in READINGS:
    raise DataError(
      f'config.data.reading is {reading!r}, but the readings are: '
      f'{", ".join(READINGS)}.{nearest(reading, READINGS)}'
    )
  for key in READINGS[reading].features:
    _check_feature(folder, features, key, object)
  return How(image_key, reading, READINGS[reading])


def _check_feature(folder, features, key: str, *kinds: type) -> None:
  """Raises DataError unless the dataset has the feature, of such a kind."""
  if key not in features:
    raise DataError(
      f'{folder} has no feature {key!r}, but {", ".join(features)}.'
      f'{nearest(key, features)} Set config.data.image_key and '
      'config.data.label_key, or config.data.reading.'
    )
  if not isinstance(features[key], kinds):
    names = ' or '.join(kind.__name__ for kind in kinds)
    raise DataError(
      f'{folder}: the feature {key!r} is {features[key]}, not {names}. Set '
      'config.data.image_key and config.data.label_key, or config.data.reading.'
    )
