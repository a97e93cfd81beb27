"""Ready VTAB-1k folders: lists of paths and labels beside the images."""

import os

from lst.data.examples import DataError, Source
from lst.data.files import (
  Files,
  numbered_classes,
  read_classes,
  read_lines,
  require_folder,
)
from lst.data.splits import nearest

# The number of examples of each list; None where any will do.
LISTS = {'train800': 800, 'val200': 200, 'train800val200': 1000, 'test': None}
LAYOUT = (
  'A task folder holds images/, ' + ', '.join(f'{x}.txt' for x in LISTS) +
  " (lines such as 'images/00000.jpg 17') and, if you like, classes.txt."
)


def source(path: str, task: str, classes: str = '') -> Source:
  """Reads the lists of a task.

  Args:
    path: the folder of the task, or the folder that holds it.
    task: the name of the task's folder; may be '' if `path` is that folder.
    classes: a file of class names instead of the folder's classes.txt.

  Returns:
    The splits 'train800', 'val200', 'train800val200' and 'test', as far as
    their lists are there.

  Raises:
    DataError: no such folder, no list, a list of another length than
      its name says, or a line that is not a path that exists and a label
      within the classes.
  """
  folder = _folder(require_folder(path, 'The source vtab'), task)
  present = [x for x in LISTS if os.path.isfile(_list(folder, x))]
  names = classes or os.path.join(folder, 'classes.txt')
  known = read_classes(names) if os.path.exists(names) or classes else None
  splits = {
    name: _read(folder, name, len(known) if known else None)
    for name in present
  }
  if known is None:
    labels = [max(files.labels) for files in splits.values()]
    known = numbered_classes(labels, folder)
  name = os.path.basename(os.path.abspath(folder))
  return Source(f'vtab/{name}', splits, known)


def _list(folder: str, name: str) -> str:
  return os.path.join(folder, f'{name}.txt')


def _folder(path: str, task: str) -> str:
  """The folder of the task: `path` itself or `path`/`task`."""
  for folder in (os.path.join(path, task), path):
    if any(os.path.isfile(_list(folder, name)) for name in LISTS):
      return folder
  tasks = sorted(
    entry.name
    for entry in os.scandir(path)
    if any(os.path.isfile(_list(entry.path, name)) for name in LISTS)
  )
  there = f' Tasks there: {", ".join(tasks)}.' if tasks else ''
  raise DataError(
    f'No VTAB task {task!r} in {path}.{there}{nearest(task, tasks)} {LAYOUT}'
  )


def _read(folder: str, name: str, classes: int | None) -> Files:
  """One list; every line is checked, so that nothing fails hours later."""
  path = _list(folder, name)
  paths, labels = [], []
  for number, line in enumerate(read_lines(path, 'a list of images'), 1):
    if not line:
      continue
    image, _, label = line.replace('\t', ' ').rpartition(' ')
    where = f'{path}, line {number}, {line!r}'
    if not image.strip() or not label.isdecimal():
      raise DataError(
        f'{where}, is not a path and a label from 0. Write it as '
        "'images/00000.jpg 17'."
      )
    if classes is not None and int(label) >= classes:
      raise DataError(
        f'{where}: the label is outside 0 to {classes - 1}, as there are '
        f'{classes} class names. Correct the line or the names.'
      )
    paths.append(os.path.join(folder, image.strip()))
    labels.append(int(label))
    if not os.path.isfile(paths[-1]):
      raise DataError(
        f'{where}: there is no file {paths[-1]}. Unpack all the images of '
        'the task, or correct the line.'
      )
  if len(paths) != (LISTS[name] or len(paths) or 1):
    raise DataError(
      f'{path} lists {len(paths)} images, not {LISTS[name] or "one or more"}.'
      f' {LAYOUT}'
    )
  return Files(paths, labels)
