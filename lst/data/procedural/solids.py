"""Shaded solids made of boxes, seen from a class of azimuths or elevations."""

import math
from typing import NamedTuple

import numpy as np

from lst.data.procedural.canvas import (
  COS_UNIT,
  SIZE,
  SUB,
  background,
  cosine,
  fill,
  sine,
)
from lst.data.procedural.dice import Dice

# (x0, y0, z0, x1, y1, z1) of each box, z up: a front and a back of each solid
# can be told from any side.
Box = tuple[int, int, int, int, int, int]
SOLIDS: dict[str, tuple[Box, ...]] = {
  'chair': ((-5, -5, -1, 5, 5, 1), (-5, -5, 1, -3, 5, 11), (-5, -5, -8, -3, -3,
            -1), (3, -5, -8, 5, -3, -1), (-5, 3, -8, -3, 5, -1), (3, 3, -8, 5,
            5, -1)),
  'truck': ((-10, -4, -5, 2, 4, 5), (4, -4, -5, 9, 4, 2), (2, -3, -5, 4, 3,
            -3)),
  'dog': ((-8, -3, -2, 6, 3, 3), (6, -2, 1, 11, 2, 6), (-8, -3, -8, -6, 3, -2),
          (4, -3, -8, 6, 3, -2), (-8, -1, 3, -7, 1, 7)),
  'plane': ((-10, -2, -2, 10, 2, 2), (0, -10, -1, 4, -2, 0), (0, 2, -1, 4, 10,
            0), (-10, -1, 2, -7, 1, 6)),
  'stairs': ((-8, -4, -6, 8, 4, -3), (-8, -4, -3, 3, 4, 0), (-8, -4, 0, -2, 4,
             3), (-8, -4, 3, -5, 4, 6)),
}
# The corners of each side of a box, as (which x, which y, which z).
_SIDES = {
  (1, 0, 0): ((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)),
  (-1, 0, 0): ((0, 0, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1)),
  (0, 1, 0): ((0, 1, 0), (1, 1, 0), (1, 1, 1), (0, 1, 1)),
  (0, -1, 0): ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)),
  (0, 0, 1): ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)),
  (0, 0, -1): ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)),
}
AZIMUTHS, ELEVATIONS = 12, 6


class View(NamedTuple):
  """Where a solid is seen from: axes in its own space, times 1 << 14."""

  right: np.ndarray
  up: np.ndarray
  towards: np.ndarray


def view(azimuth: int, elevation: int) -> View:
  """The axes of a camera at these angles, in degrees."""
  ca, sa = cosine(azimuth), sine(azimuth)
  ce, se = cosine(elevation), sine(elevation)
  return View(
    np.array([-sa, ca, 0]),
    np.array([-ca * se // COS_UNIT, -sa * se // COS_UNIT, ce]),
    np.array([ca * ce // COS_UNIT, sa * ce // COS_UNIT, se]),
  )


def azimuth(dice: Dice, label: int) -> np.ndarray:
  """One of five solids from one of 12 sides, to within 9 degrees.

  Elevation (15 to 55 degrees), size, place, light and colour vary.
  """
  turn = label * 360 // AZIMUTHS + dice.between(-9, 9)
  return _draw(dice, view(turn, dice.between(15, 55)))


def elevation(dice: Dice, label: int) -> np.ndarray:
  """One of five solids from one of six heights, 4 to 74 degrees.

  The bins are 14 degrees apart and 10 wide; the rest varies as in `azimuth`.
  """
  up = 4 + 14 * label + dice.between(-4, 5)
  return _draw(dice, view(dice.between(0, 359), up))


def _draw(dice: Dice, seen: View) -> np.ndarray:
  image = background(dice)
  boxes = dice.choice(tuple(SOLIDS.values()))
  # A corner is up to 15 units from the middle.
  unit = dice.between(25, 37)
  reach = 12 * unit
  x, y = (dice.between(reach, SIZE * SUB - reach) for _ in range(2))
  paint = np.array([dice.between(60, 255) for _ in range(3)])
  light = _light(dice)
  for box in ordered(boxes, seen.towards):
    ends = np.array(box).reshape(2, 3)
    for normal, corners in _SIDES.items():
      if np.dot(normal, seen.towards) <= 0:
        continue
      points = np.array([[ends[which[k], k] for k in range(3)]
                         for which in corners])
      flat = np.stack([
        x + points @ seen.right * unit // COS_UNIT,
        y - points @ seen.up * unit // COS_UNIT,
      ], 1)
      shade = 100 + max(0, int(np.dot(normal, light)))
      fill(image, (flat,), np.minimum(paint * shade // 256, 255))
  return image.astype(np.uint8)


def _light(dice: Dice) -> np.ndarray:
  """A direction from above, of length 160 or so."""
  turn = dice.between(0, 359)
  flat = dice.between(70, 120)
  high = math.isqrt(160**2 - flat**2)
  return np.array([
    flat * cosine(turn) // COS_UNIT, flat * sine(turn) // COS_UNIT, high])


def ordered(boxes: tuple[Box, ...], towards: np.ndarray) -> list[Box]:
  """Boxes that do not meet, the hidden ones ahead of what hides them.

  Args:
    boxes: of a solid.
    towards: (3,), as of `View`.
  """
  left, out = list(boxes), []
  while left:
    for box in left:
      if not any(_hides(box, other, towards) for other in left
                 if other is not box):
        break
    out.append(box)
    left.remove(box)
  return out


def _hides(box: Box, other: Box, towards: np.ndarray) -> bool:
  """Whether `box` may stand before `other`.

  A ray that leaves `other` for the eye can only go the way of `towards` along
  each axis: if it would have to go back along one, it never meets `box`.
  """
  before = False
  for k in range(3):
    low, high = (box, other) if towards[k] >= 0 else (other, box)
    before |= low[k] >= high[k + 3] and bool(towards[k])
    if high[k] >= low[k + 3]:
      return False
  return before
