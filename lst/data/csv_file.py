"""A CSV file of image paths and labels."""

import csv
import os
from typing import NamedTuple

from lst.data.examples import DataError, Source
from lst.data.files import Files, numbered_classes, read_classes
from lst.data.splits import nearest

HEADER = "Its first line is 'path,label' or 'path,label,split'."


class _Row(NamedTuple):
  """One line of the file."""

  where: str
  path: str
  label: str
  split: str


def source(path: str, classes: str = '') -> Source:
  """Reads a table with the columns path, label and, if you like, split.

  Args:
    path: the CSV file; image paths in it are relative to its folder. Without
      a split column there is one split, 'all'.
    classes: a file of class names; labels are then such names, or line
      numbers from 0. Without it, labels that are all numbers are class
      indices, and any others are names, sorted.

  Raises:
    DataError: the file or an image is missing, a line is malformed, or a
      label is not among the classes. The message gives the line.
  """
  path = os.path.expanduser(path)
  rows = _rows(path)
  known, indices = _classes(path, rows, classes)
  files = {}
  for row in rows:
    if row.label not in indices:
      raise DataError(
        f'{row.where}: the label {row.label!r} is not among the '
        f'{len(known)} classes.{nearest(row.label, known)} Names or numbers '
        f'from 0 to {len(known) - 1} are.'
      )
    paths, labels = files.setdefault(row.split, ([], []))
    paths.append(row.path)
    labels.append(indices[row.label])
  splits = {name: Files(*lists) for name, lists in files.items()}
  name = os.path.splitext(os.path.basename(path))[0]
  return Source(f'csv/{name}', splits, known)


def _rows(path: str) -> list[_Row]:
  if not os.path.isfile(path):
    raise DataError(
      f'The source csv: there is no file {path!r}. Set config.data.path to a '
      f'CSV file. {HEADER}'
    )
  try:
    with open(path, encoding='utf-8-sig', newline='') as file:
      reader = csv.DictReader(file, strict=True)
      _check_header(path, reader.fieldnames)
      rows = [_row(path, reader.line_num, cells) for cells in reader]
  except (csv.Error, UnicodeDecodeError) as error:
    raise DataError(
      f'{path} is no well-formed CSV in UTF-8: {error}, after line '
      f'{reader.line_num}. {HEADER}'
    ) from error
  if not rows:
    raise DataError(f'{path} lists no file. {HEADER}')
  return rows


def _check_header(path: str, names) -> None:
  missing = {'path', 'label'} - set(names or ())
  if missing:
    raise DataError(
      f'{path}, line 1: no column {" or ".join(sorted(missing))}, the columns '
      f'are {names}. {HEADER}'
    )


def _row(path: str, number: int, cells: dict) -> _Row:
  where = f'{path}, line {number}'
  if None in cells or None in cells.values():
    raise DataError(
      f'{where}: more or fewer cells than the header names. Quote cells that '
      'contain a comma.'
    )
  split = cells.get('split', 'all').strip()
  label, image = cells['label'].strip(), cells['path'].strip()
  if not (image and label and split) or label.startswith('-'):
    raise DataError(
      f'{where}: path {image!r}, label {label!r}, split {split!r}: none may '
      'be empty, and a label number counts from 0.'
    )
  file = os.path.join(os.path.dirname(path), os.path.expanduser(image))
  if not os.path.isfile(file):
    raise DataError(
      f'{where}: there is no file {file}. Paths are relative to the folder '
      'of the CSV file.'
    )
  return _Row(where, file, label, split)


def _classes(path: str, rows: list[_Row], file: str):
  """The class names, and the index that each way to write a label means."""
  labels = {row.label for row in rows}
  numeric = all(label.isdecimal() for label in labels)
  if file:
    known = read_classes(file)
  elif numeric:
    known = numbered_classes(map(int, labels), path)
  else:
    known = tuple(sorted(labels))
  indices = {name: i for i, name in enumerate(known)}
  if numeric and not labels <= indices.keys():
    # They are no names, so they are numbers.
    indices = {x: int(x) for x in labels if int(x) < len(known)}
  return known, indices
