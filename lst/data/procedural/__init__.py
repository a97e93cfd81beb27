"""Tasks drawn by code: no download, any number, equal bits on any machine.

Example i of a split is a pure function of (task, split, i). The keys begin
with a name of their own, so that no image of these can turn up in procedural
pre-training data that are drawn under another.
"""

import numpy as np

from lst.data.examples import DataError, Example, Source
from lst.data.procedural.dice import Dice
from lst.data.procedural.tasks import TASKS
from lst.data.splits import nearest

SIZES = {'train': 1000, 'val': 500, 'test': 2000}
_DOMAIN = 'lst.data.procedural.1'


class _Drawn:
  """A split whose examples are drawn when asked for."""

  def __init__(self, task: str, split: str):
    self._names = task, split

  def __len__(self) -> int:
    return SIZES[self._names[1]]

  def __getitem__(self, index: int) -> Example:
    return draw(*self._names, index)

  def stamp(self) -> str:
    """The images are drawn by code: its name says all."""
    return '/'.join((_DOMAIN, *self._names))


def draw(task: str, split: str, index: int) -> Example:
  """Draws one example; the classes take turns, so they are balanced.

  Args:
    task: a key of `TASKS`.
    split: any name; each has images of its own.
    index: from 0.

  Returns:
    uint8 (64, 64, 3) and the label.
  """
  chosen = TASKS[task]
  label = index % len(chosen.classes)
  image = chosen.draw(Dice(f'{_DOMAIN}/{task}/{split}/{index}'), label)
  return Example(np.ascontiguousarray(image), label)


def source(task: str) -> Source:
  """One task: 1,000 'train', 500 'val' and 2,000 'test' images of 64 x 64.

  Raises:
    DataError: no such task.
  """
  if task not in TASKS:
    raise DataError(
      f'config.data.task is {task!r}, but the procedural tasks are: '
      f'{", ".join(TASKS)}.{nearest(task, TASKS)}'
    )
  splits = {split: _Drawn(task, split) for split in SIZES}
  return Source(f'procedural/{task}', splits, TASKS[task].classes)
