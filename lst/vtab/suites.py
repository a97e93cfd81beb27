"""The suites: VTAB-1k, one that needs no data, and whatever folders there are.
"""

import os
from collections.abc import Callable

from lst import data
from lst.vtab.bundled import bundled
from lst.vtab.task import OTHER, Task
from lst.vtab.tasks import FOLDER_SPLITS, ROWS, fields, is_ready, vtab


def folder(path: str) -> tuple[Task, ...]:
  """Every ready folder in `path`; one that VTAB knows has its group.

  Raises:
    DataError: there is none.
  """
  groups = {
      name: row.group for row in ROWS for name in (row.name, *row.also)}
  path = os.path.expanduser(path)
  names = sorted(os.listdir(path)) if path and os.path.isdir(path) else []
  found = tuple(
      Task(
          name, groups.get(name, OTHER), None, None, FOLDER_SPLITS,
          fields(name='vtab', path=os.path.join(path, name)))
      for name in names if is_ready(os.path.join(path, name)))
  if not found:
    raise data.DataError(
        f'--path={path!r} holds no ready task: a folder <task>/ with images/ '
        'and train800.txt, val200.txt, train800val200.txt and test.txt')
  return found


# (the folder of --path) -> the tasks.
SUITES: dict[str, Callable[[str], tuple[Task, ...]]] = {
    'vtab': vtab,
    'bundled': lambda path: bundled(),
    'folder': folder,
}


def select(suite: str, path: str, names: tuple[str, ...]) -> tuple[Task, ...]:
  """The tasks of a suite, or those of them that are named.

  Raises:
    DataError: there is no such suite, task, or folder.
  """
  if suite not in SUITES:
    raise data.DataError(
        f'--suite={suite!r} is none: choose one of {", ".join(SUITES)}')
  tasks = {task.name: task for task in SUITES[suite](path)}
  wrong = [name for name in names if name not in tasks]
  if wrong:
    raise data.DataError(
        f'--task={",".join(wrong)}: the suite {suite} has '
        f'{", ".join(tasks)}')
  return tuple(tasks[name] for name in names or tasks)
