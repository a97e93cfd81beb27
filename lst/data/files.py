"""Lists of image files with labels: what folders and tables come down to."""

import os
from collections.abc import Iterable, Sequence

from lst.data.examples import DataError, Example

MOST_CLASSES = 100_000


class Files:
  """Examples that are files on disk, read when asked for.

  Attributes:
    paths: the path of each image.
    labels: the class index of each image.
  """

  def __init__(self, paths: Sequence[str], labels: Sequence[int]):
    self.paths = paths
    self.labels = labels

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, index: int) -> Example:
    return Example(self.paths[index], self.labels[index])


def read_lines(path: str, what: str) -> list[str]:
  """The lines of a text file, stripped; DataError where it cannot be read."""
  try:
    with open(path, encoding='utf-8-sig') as file:
      return [line.strip() for line in file]
  except (OSError, UnicodeDecodeError) as error:
    raise DataError(
      f'{path}, {what}, cannot be read ({error}). Check that it is there and '
      'is a text file in UTF-8.'
    ) from error


def read_classes(path: str) -> tuple[str, ...]:
  """Class names, one a line; the line number from 0 is the label.

  Raises:
    DataError: no name, an empty line between names, or a name twice.
  """
  lines = read_lines(path, 'the list of class names')
  while lines and not lines[-1]:
    lines.pop()
  if not lines:
    raise DataError(f'{path} names no class: write one name a line.')
  first = {}
  for number, line in enumerate(lines, 1):
    if not line:
      raise DataError(
        f'{path}, line {number}, is empty: a label is the number of its '
        'line, so write a name there or remove the line.'
      )
    if line in first:
      raise DataError(
        f'{path} names the class {line!r} twice, in lines {first[line]} and '
        f'{number}. Rename or remove one.'
      )
    first[line] = number
  return tuple(lines)


def numbered_classes(labels: Iterable[int], where: str) -> tuple[str, ...]:
  """Names for classes that have none: '0' up to the largest label.

  Raises:
    DataError: a label so large that it can only be a slip.
  """
  top = max(labels)
  if top > MOST_CLASSES:
    raise DataError(
      f'{where} has the label {top}: labels count classes from 0. Correct it, '
      'or list the class names in a file and set config.data.classes to it.'
    )
  return tuple(str(label) for label in range(top + 1))


def require_folder(path: str, what: str) -> str:
  """Returns the path of a folder, `~` expanded, or raises DataError."""
  if not path:
    raise DataError(f'{what} needs config.data.path: the folder it is in.')
  path = os.path.expanduser(path)
  if not os.path.isdir(path):
    state = 'is a file' if os.path.exists(path) else 'does not exist'
    raise DataError(f'{what}: the folder {path} {state}. Set config.data.path.')
  return path
