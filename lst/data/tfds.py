"""TFDS datasets, read without TensorFlow and without a network."""

import json
import os
import re
from typing import NamedTuple

from lst.data import prepare
from lst.data.examples import DataError, Examples, Source
from lst.data.records import How, Records, how_to_read
from lst.data.video import decode, encoded


class Task(NamedTuple):
  """A TFDS name in its parts; '' where one was not given."""

  name: str
  config: str
  version: str

  def __str__(self):
    name = '/'.join(part for part in self[:2] if part)
    return f'{name}:{self.version}' if self.version else name


def source(
  task: str,
  path: str = '',
  image_key: str = '',
  label_key: str = '',
  reading: str = '',
  video: bool = False,
) -> Source:
  """Opens a dataset in array_record files, preparing it where it can be.

  Args:
    task: a TFDS name, 'name', 'name/config', 'name:version' or
      'name/config:version'; the newest version that is prepared by default.
    path: the folder of prepared datasets, or of this one; by default
      $TFDS_DATA_DIR, then ~/tensorflow_datasets.
    image_key: the feature that is the image; 'image' by default.
    label_key: the feature that is the class; 'label' by default.
    reading: a key of `READINGS` in place of `label_key`, where the class
      is none of the features.
    video: whether 'image_key' is a video: frames, as `tfds.features.Video`
      writes them, or the bytes of a file, as text.

  Raises:
    DataError: within 10 seconds, where it neither is nor can be prepared here,
      is not `task`, lacks an image or a class, or there is no such reading.
  """
  parsed, root = parse(task), root_of(path)
  folder = find(parsed, root) or prepare.prepare(parsed, root)
  _check_info(folder, parsed)
  if video:
    decode.require()
  builder = _opened(folder)
  how = how_to_read(
    folder, builder.info.features, image_key or 'image', label_key or 'label',
    reading, video,
  )
  return Source(
    f'tfds/{builder.info.full_name}', _splits(builder, folder, how),
    how.reading.classes, video,
  )


def _opened(folder: str):
  """Its builder, whose features may be videos."""
  encoded.frames()
  import tensorflow_datasets as tfds
  return tfds.builder_from_directory(folder)


def root_of(path: str) -> str:
  """The folder of prepared datasets, where `path` may be ''."""
  return os.path.expanduser(
    path or os.environ.get('TFDS_DATA_DIR', '') or '~/tensorflow_datasets'
  )


def _splits(builder, folder: str, how: How) -> dict[str, Examples]:
  import tensorflow_datasets as tfds

  splits: dict[str, Examples] = {}
  for name, info in builder.info.splits.items():
    _check_files(folder, name, info.filepaths)
    records = builder.as_data_source(
      name, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    splits[name] = Records(
      records, builder.info.features, how, info.filepaths,
      info.shard_lengths
    )
  return splits


def parse(task: str) -> Task:
  """Splits a TFDS name into its parts.

  >>> parse('dsprites/all:2.0.0')
  Task(name='dsprites', config='all', version='2.0.0')
  """
  match = re.fullmatch(r'(\w+)(?:/([\w.-]+?))?(?::(\d+\.\d+\.\d+))?', task)
  if not match:
    raise DataError(
      f'config.data.task is {task!r}: write a TFDS name as name, name/config, '
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
    if re.fullmatch(r'\d+\.\d+\.\d+', name)
    and _is_prepared(os.path.join(base, name))
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
      f'{", ".join(configs)}: set config.data.task to one, such as '
      f"'{task.name}/{configs[0]}'."
    )
  return find(task._replace(config=configs[0]), root) if configs else None


def _names(folder: str) -> list[str]:
  return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _is_prepared(folder: str) -> bool:
  return os.path.isfile(os.path.join(folder, 'dataset_info.json'))


def _check_info(folder: str, task: Task) -> None:
  """Raises DataError where a folder is of another dataset, or in no format."""
  path = os.path.join(folder, 'dataset_info.json')
  try:
    with open(path, encoding='utf-8') as file:
      info = json.load(file)
  except (OSError, ValueError) as error:
    raise DataError(
      f'{path} cannot be read ({error}): prepare the dataset again.'
    ) from error
  there = Task(
    info.get('name', ''), info.get('configName', ''), info.get('version', '')
  )
  if any(ours not in ('', its) for ours, its in zip(task, there, strict=True)):
    raise DataError(
      f'{folder} holds {there}, but config.data.task is {str(task)!r}: set '
      'config.data.path to the folder of that dataset, or the task to what is '
      'there.'
    )
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
