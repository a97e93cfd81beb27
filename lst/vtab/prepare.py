"""`prepare`: what a suite has, what it misses, and how to get that."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from lst import data, workdir
from lst.data import prepare as fetching
from lst.data import tfds
from lst.vtab.checks import Found, check
from lst.vtab.task import Task

WAYS = """What is missing can be had in one of these ways:
  - with a network, pip install 'lst[prepare]' and the same command again: TFDS
    fetches it and prepares it;
  - prepare it elsewhere with tfds.builder(NAME, file_format='array_record')
    .download_and_prepare(), copy the folder, and name the folder above it by
    --path or TFDS_DATA_DIR;
  - a ready VTAB-1k folder: <task>/images, train800.txt, val200.txt,
    train800val200.txt and test.txt in the folder of --path."""
# Seconds between lines about a task that takes long.
QUIET = 10.0


def run(
    tasks: tuple[Task, ...], *, read: bool = True, expect: str = '',
    out: str = '') -> int:
  """Checks every task, gets what can be got, and says what there is.

  Args:
    tasks: of a suite.
    read: whether to decode every image, and to take the digests.
    expect: file of digests that an earlier call wrote, to compare with.
    out: file to write what was found to, with the digests.

  Returns:
    The exit status: 1 if anything is wrong.

  Raises:
    DataError: `expect` cannot be read.
  """
  expected = _expected(expect) if expect else {}
  found, reach = {}, Reach()
  for number, task in enumerate(tasks, 1):
    one = found[task.name] = _one(task, reach, read, expected)
    state = 'ready'
    if one.problems:
      state = 'wrong' if one.source or _is_there(task) else 'missing'
    print(f'[{number}/{len(tasks)}] {task.name}: {state}{_what(one)}',
          flush=True)
    for problem in one.problems:
      print(f'  {task.name}: {problem}', flush=True)
  if out:
    workdir.write_json(out, {k: v._asdict() for k, v in found.items()})
    print(f'in {out}; --expect={out} compares other data with these')
  wrong = [name for name, one in found.items() if one.problems]
  if any(not found[task.name].source and task.published for task in tasks):
    print(WAYS)
  if wrong:
    print(f'{len(wrong)} of {len(tasks)} tasks cannot be run: '
          f'{", ".join(wrong)}', file=sys.stderr)
  return bool(wrong)


def missing(task: Task, reach: Callable[[], str]) -> str:
  """Why the data of a task cannot be had at all, or ''.

  Args:
    task: a row.
    reach: () -> why TFDS can prepare nothing here, or ''.
  """
  if _is_there(task) or not reach():
    return ''
  name, root = task.data['task'], tfds.root_of(task.data['path'])
  return (f'the TFDS dataset {name} is not prepared in {root}, and '
          f'cannot be here: {reach()}. {task.get}').rstrip()


def _is_there(task: Task) -> bool:
  """Whether there are files of a task, right or wrong."""
  if task.data['name'] != 'tfds':
    return True
  try:
    return bool(tfds.find(
        tfds.parse(task.data['task']), tfds.root_of(task.data['path'])))
  except data.DataError:
    # With several configs, which opening it tells.
    return True


class Reach:
  """Why TFDS can prepare nothing here; looked for once."""

  def __init__(self):
    self._why = None

  def __call__(self) -> str:
    """The reason, or ''."""
    if self._why is None:
      why = []
      if not fetching.has_tensorflow():
        why.append('TensorFlow, which prepares it, is not installed')
      if not why and not fetching.has_network():
        why.append('{}:{} does not answer'.format(*fetching.address()))
      self._why = '; '.join(why)
    return self._why


def _one(task: Task, reach, read: bool, expected) -> Found:
  why = missing(task, reach)
  if why:
    return Found(problems=(why,))
  last = time.monotonic()

  def progress(done: int, total: int) -> None:
    nonlocal last
    if time.monotonic() - last > QUIET:
      last = time.monotonic()
      print(f'{task.name}: {done:,} of {total:,} images', flush=True)

  return check(task, read, expected.get(task.name), progress)


def _expected(path: str) -> dict[str, Any]:
  try:
    with open(path, encoding='utf-8') as file:
      known = json.load(file)
    return {name: tuple(one['digests']) for name, one in known.items()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise data.DataError(
        f'--expect={path} is no file of `prepare --out=FILE`: {error}'
    ) from error


def _what(one: Found) -> str:
  """What was found, in a line."""
  if not one.source:
    return ''
  sizes = ' / '.join(f'{n:,}' for n in one.sizes)
  parts = [f': {one.source}, {one.classes} classes, {sizes} images']
  if one.digests:
    parts.append('sha256 ' + ' '.join(d[:8] for d in one.digests))
  return ', '.join([*parts, *one.notes])
