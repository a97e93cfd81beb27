"""Augmentation as a few fixed views of each example, the same every time.

View 0 is the plain image. Which view an epoch shows is a pure function of the
seed, the epoch and the example, and each view of an example comes once in as
many epochs as there are views. So features of all views can be kept, and a run
that reads them meets what a run that augments on the spot does.

Views are rows: row = example * views + view.
"""

from collections.abc import Callable

import numpy as np

from lst.data.decode import RGB, Resized, decode
from lst.data.examples import DataError, Example, Split
from lst.data.procedural.dice import Dice
from lst.data.splits import nearest
from lst.data.video.clips import clips


def _plain(image: RGB, dice: Dice) -> Resized:
  raise AssertionError('without augmentation there is one view')


def _mirrored(image: RGB, dice: Dice) -> Resized:
  return image[:, ::-1]


def _cropped(image: RGB, dice: Dice) -> Resized:
  """A window of half to whole height and width, mirrored or not."""
  spans = []
  for size in image.shape[:2]:
    length = dice.between((size + 1) // 2, size)
    start = dice.between(0, size - length)
    spans.append(slice(start, start + length))
  image = image[tuple(spans)]
  return image[:, ::-1] if dice.between(0, 1) else image


# By name: how a view other than 0 is made, and the most views that differ.
AUGMENTS: dict[str, tuple[Callable[[RGB, Dice], Resized], int | None]] = {
  'none': (_plain, 1),
  'flip': (_mirrored, 2),
  'crop': (_cropped, None),
}


def view(
  image: RGB, index: int, number: int, augment: str = 'none', seed: int = 0
) -> Resized:
  """One view of an image; a pure function of its arguments on any machine.

  Args:
    image: uint8 (h, w, 3).
    index: of the example.
    number: of the view, from 0, which is the plain image.
    augment: a key of `AUGMENTS`.
    seed: of what is drawn.

  Returns:
    uint8 (H, W, 3); a crop is smaller, to be resized like any image.

  >>> image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
  >>> view(image, 5, 1, 'flip')[0].tolist()
  [[3, 4, 5], [0, 1, 2]]
  """
  if not number:
    return image
  dice = Dice(f'lst.data.views/{augment}/{seed}/{index}/{number}')
  return np.ascontiguousarray(AUGMENTS[augment][0](image, dice))


class Viewed:
  """All views of some examples, one after the other."""

  def __init__(self, split: Split, augment: str, views: int):
    self._split, self._augment, self._views = split, augment, views

  def __len__(self) -> int:
    return self._split.size * self._views

  def __getitem__(self, row: int) -> Example:
    index, number = divmod(row, self._views)
    example = self._split.source[index]
    if not number:
      return example
    image = view(decode(example.image), index, number, self._augment)
    return Example(image, example.label)


def check_views(augment: str, views: int) -> None:
  """Raises DataError unless there are so many different views."""
  if augment not in AUGMENTS:
    raise DataError(
      f'config.data.augment is {augment!r}, but it is one of '
      f'{", ".join(AUGMENTS)}.{nearest(augment, AUGMENTS)}'
    )
  most = AUGMENTS[augment][1]
  if views < 1 or (most and views > most):
    least = f'1 to {most}' if most else '1 or more'
    raise DataError(
      f'config.data.views is {views}: config.data.augment={augment!r} has '
      f"{least}. View 0 is the plain image; 'flip' adds its mirror image, "
      "'crop' any number."
    )
  if augment != 'none' and views == 1:
    raise DataError(
      f'config.data.augment={augment!r} with config.data.views=1 shows the '
      'plain image alone: set config.data.views to 2 or more, or '
      "config.data.augment to 'none'."
    )


def viewed(split: Split, augment: str = 'none', views: int = 1) -> Split:
  """A split whose examples are the rows example * views + view.

  Raises:
    DataError: an unknown augmentation, or a number of views that it lacks.
  """
  if split.video:
    return clips(split, augment, views)
  check_views(augment, views)
  if views == 1:
    return split
  return Split(split.name, Viewed(split, augment, views))


class Choice:
  """From the examples of a global batch to the rows that it shows."""

  def __init__(self, examples: int, views: int, batch_size: int, seed: int):
    self._examples, self._views, self._batch_size = examples, views, batch_size
    # A generator that is frozen: its numbers stay what they are.
    random = np.random.RandomState(seed)
    self._first = random.randint(0, views, size=examples)

  def __call__(self, step: int, examples: np.ndarray) -> np.ndarray:
    """Rows (b,) of the examples (b,) of global batch `step`."""
    places = step * self._batch_size + np.arange(len(examples))
    shown = (self._first[examples] + places // self._examples) % self._views
    return examples * self._views + shown
