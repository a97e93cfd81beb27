"""Something-Something v2, in the folders and files that it is handed out in."""

import json
import os
from typing import Any

from lst.data.examples import DataError, Source
from lst.data.files import Files, require_folder
from lst.data.video import decode

VIDEOS = '20bn-something-something-v2'
# The JSON files lie in the folder itself or in `labels`, under a short name
# or with the name of the dataset ahead.
FOLDERS, PREFIXES = ('labels', ''), ('', 'something-something-v2-')
LAYOUT = (
  f'It holds the folder {VIDEOS} of *.webm and, itself or in a folder labels, '
  'the files labels.json, train.json and validation.json (or '
  'something-something-v2-labels.json and so on).'
)


def source(path: str) -> Source:
  """174 classes; the splits are 'train' and 'validation'.

  The videos of the test are handed out without labels and are no split.

  Args:
    path: of the folder; see `LAYOUT`.

  Raises:
    DataError: PyAV is not installed, a file is missing or malformed, or a
      video is of no class that labels.json has.
  """
  decode.require()
  path = require_folder(path, 'Something-Something v2')
  videos = os.path.join(path, VIDEOS)
  if not os.path.isdir(videos):
    raise DataError(f'{path} has no folder {VIDEOS}. {LAYOUT}')
  names, indices = _classes(path)
  splits = {}
  for split in ('train', 'validation'):
    file, rows = _read(path, split, list)
    splits[split] = Files(
      [os.path.join(videos, f'{_field(row, "id", file)}.webm') for row in rows],
      [_label(_field(row, 'template', file), indices, file) for row in rows],
    )
  return Source('something-something-v2', splits, names, video=True)


def _classes(path: str) -> tuple[tuple[str, ...], dict[str, int]]:
  """The names in the order of their numbers; the number of each, in small."""
  file, numbers = _read(path, 'labels', dict)
  try:
    order = sorted(numbers, key=lambda name: int(numbers[name]))
    whole = [int(numbers[name]) for name in order] == list(range(len(order)))
  except (TypeError, ValueError):
    whole = False
  if not whole:
    raise DataError(
      f'{file} does not number its classes from 0 on: it is {{"name": "0", '
      '...} as it is handed out.'
    )
  return tuple(order), {name.lower(): k for k, name in enumerate(order)}


def _read(path: str, name: str, kind: type) -> tuple[str, Any]:
  """The file of that name, and what it holds."""
  for folder in FOLDERS:
    for prefix in PREFIXES:
      file = os.path.join(path, folder, f'{prefix}{name}.json')
      if os.path.isfile(file):
        return file, _load(file, kind)
  raise DataError(f'{path} has no {name}.json. {LAYOUT}')


def _load(file: str, kind: type) -> Any:
  try:
    with open(file, encoding='utf-8') as opened:
      content = json.load(opened)
  except (OSError, ValueError) as error:
    raise DataError(f'{file} is no well-formed JSON: {error}.') from error
  if not isinstance(content, kind) or not content:
    raise DataError(
      f'{file} holds no {kind.__name__} with entries, as that which is handed '
      'out does.'
    )
  return content


def _field(row: Any, name: str, file: str) -> str:
  value = row.get(name) if isinstance(row, dict) else None
  if not isinstance(value, str) or not value:
    raise DataError(f'{file}: the entry {row!r} has no {name!r}.')
  return value


def _label(template: str, indices: dict[str, int], file: str) -> int:
  """'Holding [something]' is the class 'Holding something'."""
  name = template.replace('[', '').replace(']', '')
  if name.lower() not in indices:
    raise DataError(f'{file}: labels.json has no class {name!r}.')
  return indices[name.lower()]
