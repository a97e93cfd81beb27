"""TFDS datasets, read without TensorFlow and without a network."""

import json
import os
import re
from typing import NamedTuple

from lst.data import prepare
from lst.data.examples import DataError, Example, Examples, Source
from lst.data.fingerprint import stamp_of
from lst.data.splits import nearest


class Task(NamedTuple):
  """A TFDS name in its parts; '' where one was not given."""

  name: str
  config: str
  version: str

  def __str__(self):
    return '/'.join(part for part in self if part)


class _Records:
  """The records of one split: the encoded image and the label of each."""

  def __init__(self, records, features, keys: tuple[str, str], files):
    import tensorflow_datasets as tfds

    self._records = records
    self._keys = keys
    self._files = files
    self._classes = features[keys[1]].num_classes
    # Only these two are parsed: masks and boxes would cost their decoding.
    self._features = tfds.features.FeaturesDict(
      {key: features[key] for key in self._keys}
    )
    self._decoders = {keys[0]: tfds.decode.SkipDecoding()}

  def __len__(self) -> int:
    return len(self._records)

  def stamp(self) -> str:
    """Of the files and the features: reading all records would take long."""
    return '|'.join((*self._keys, *map(stamp_of, map(str, self._files))))

  def __getitem__(self, index: int) -> Example:
    record = self._features.deserialize_example_np(
      self._records[index], decoders=self._decoders
    )
    image, label = (record[key] for key in self._keys)
    if not 0 <= label < self._classes:
      raise ValueError(
        f'its label is {label}, not 0 to {self._classes - 1} (TFDS gives -1 '
        'where a split is not labelled)'
      )
    return Example(image, int(label))


def source(
  task: str, path: str = '', image_key: str = '', label_key: str = ''
) -> Source:
  """Opens a dataset in array_record files, preparing it where it can be.

  Args:
    task: a TFDS name, 'name', 'name/config', 'name:version' or
      'name/config:version'; the newest version that is prepared by default.
    path: the folder of prepared datasets, or of this one; by default
      $TFDS_DATA_DIR, then ~/tensorflow_datasets.
    image_key: the feature that is the image; 'image' by default.
    label_key: the feature that is the class; 'label' by default.

  Raises:
    DataError: within 10 seconds, where it is neither prepared nor can be
      prepared here; or its features are not an image and a class.
  """
  parsed = parse(task)
  root = os.path.expanduser(
    path or os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')
  )
  folder = find(parsed, root) or prepare.prepare(parsed, root)
  _check_format(folder)
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(folder)
  keys = (image_key or 'image', label_key or 'label')
  classes = _classes(folder, builder.info.features, *keys)
  splits: dict[str, Examples] = {}
  for name, info in builder.info.splits.items():
    _check_files(folder, name, info.filepaths)
    records = builder.as_data_source(
      name, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    splits[name] = _Records(
      records, builder.info.features, keys, info.filepaths
    )
  return Source(f'tfds/{builder.info.full_name}', splits, classes)


def parse(task: str) -> Task:
  """Splits a TFDS name into its parts.

  >>> parse('dsprites/all:2.0.0')
  Task(name='dsprites', config='all', version='2.0.0')
  """
  match = re.fullmatch(r'(\w+)(?:/([\w.-]+?))?(?::(\d+\.\d+\.\d+))?', task)
  if not match:
    raise DataError(
      f'data.task is {task!r}: write a TFDS name as name, name/config, '
      'name:1.2.3 or name/config:1.2.3.'
    )
  return Task(*(part or '' for part in match.groups()))


def find(task: Task, root: str) -> str | None:
  """The folder of a prepared dataset, by its files alone.

  Args:
    task: what is looked for.
    root: the folder of prepared datasets, or of this one.

  Returns:
    The folder of the version asked for, or of the newest; None if there is
    none.

  Raises:
    DataError: it is there with several configs, and none was asked for.
  """
  if _is_prepared(root):
    return root
  base = os.path.join(root, task.name, task.config)
  versions = [
    name for name in _names(base)
    if _is_prepared(os.path.join(base, name))
    and task.version in ('', name)
  ]
  if versions:
    newest = max(versions, key=lambda v: [int(x) for x in v.split('.')])
    return os.path.join(base, newest)
  if task.config:
    return None
  configs = [
    name for name in _names(base)
    if find(task._replace(config=name), root)
  ]
  if len(configs) > 1:
    raise DataError(
      f'{task.name} is prepared in {root} with the configs '
      f'{", ".join(configs)}: set data.task to one, such as '
      f"'{task.name}/{configs[0]}'."
    )
  return find(task._replace(config=configs[0]), root) if configs else None


def _names(folder: str) -> list[str]:
  return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _is_prepared(folder: str) -> bool:
  return os.path.isfile(os.path.join(folder, 'dataset_info.json'))


def _check_format(folder: str) -> None:
  path = os.path.join(folder, 'dataset_info.json')
  try:
    with open(path, encoding='utf-8') as file:
      info = json.load(file)
  except (OSError, ValueError) as error:
    raise DataError(
      f'{path} cannot be read ({error}): prepare the dataset again.'
    ) from error
  form = info.get('fileFormat', 'tfrecord')
  if form != 'array_record':
    raise DataError(
      f'{folder} was prepared as {form}, which has no random access. Prepare '
      "it with tfds.builder(..., file_format='array_record') in another "
      'folder, or move this one away.'
    )


def _check_files(folder: str, split: str, files) -> None:
  for file in files:
    if not os.path.isfile(file):
      raise DataError(
        f'{folder}: the split {split!r} lacks the file {file}. Copy the whole '
        'folder again, or prepare it again.'
      )


def _classes(folder, features, image_key: str, label_key: str):
  """The class names, once both features are what they must be."""
  import tensorflow_datasets as tfds

  kinds = {image_key: tfds.features.Image, label_key: tfds.features.ClassLabel}
  for key, kind in kinds.items():
    if key not in features:
      raise DataError(
        f'{folder} has no feature {key!r}, but {", ".join(features)}.'
        f'{nearest(key, features)} Set data.image_key and data.label_key.'
      )
    if not isinstance(features[key], kind):
      raise DataError(
        f'{folder}: the feature {key!r} is {features[key]}, not '
        f'{kind.__name__}. Set data.image_key and data.label_key.'
      )
  return tuple(features[label_key].names)
