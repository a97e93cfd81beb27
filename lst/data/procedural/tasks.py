"""The tasks: each draws one image of a class from dice."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lst.data.procedural.canvas import (
  SIZE,
  SUB,
  background,
  colour,
  fill,
  place,
)
from lst.data.procedural.dice import Dice
from lst.data.procedural.scenes import (
  DEPTHS,
  GRADES,
  LAYOUTS,
  SPRITE_BINS,
  cells,
  distance,
  settlement,
  sprite_angle,
  sprite_x,
)
from lst.data.procedural.shapes import BAR, SHAPES, SPRITES, UP, radius_of
from lst.data.procedural.solids import (
  AZIMUTHS,
  ELEVATIONS,
  azimuth,
  elevation,
)
from lst.data.procedural.strokes import GLYPHS, RHYTHMS, glyph, pulse
from lst.data.procedural.surfaces import PATTERNS, TEXTURES, pattern, texture

_SIDE = SIZE * SUB
_DIRECTIONS = ('n', 'ne', 'e', 'se', 's', 'sw', 'w', 'nw')
_GRID = 4


class Task(NamedTuple):
  """A way to draw: (dice, label) -> uint8 (64, 64, 3)."""

  classes: tuple[str, ...]
  draw: Callable[[Dice, int], np.ndarray]


def count(dice: Dice, label: int) -> np.ndarray:
  """1 to 8 objects of mixed shape, apart from each other.

  Together they cover about as much whatever their number, so neither the
  mean colour nor the area tells it; in half the images all have one colour.
  """
  image = background(dice)
  total = dice.between(350, 800)
  shares = [dice.between(60, 140) for _ in range(label + 1)]
  shapes = [dice.choice(tuple(SHAPES.values())) for _ in shares]
  radii = [
    radius_of(shape, total * share // sum(shares))
    for shape, share in zip(shapes, shares, strict=True)
  ]
  paint, same = colour(dice, image), dice.between(0, 1)
  for shape, (x, y, radius) in zip(shapes, _apart(dice, radii), strict=True):
    outline = place(shape, x, y, radius, dice.between(0, 359))
    fill(image, outline, paint)
    paint = paint if same else colour(dice, image)
  return image.astype(np.uint8)


def _apart(dice: Dice, radii: list[int]) -> list[tuple[int, int, int]]:
  """Circles (x, y, radius) inside the image, 2 pixels or more apart.

  Largest first, each at 60 places at most; where one does not fit, all are
  made a sixteenth smaller and placed again.
  """
  order = sorted(range(len(radii)), key=lambda i: -radii[i])
  circles: dict[int, tuple[int, int, int]] = {}
  for i in order:
    for _ in range(60):
      r = min(radii[i], _SIDE // 2)
      x, y = (dice.between(r, _SIDE - r) for _ in range(2))
      if all(
        (x - u) ** 2 + (y - v) ** 2 >= (r + other + 2 * SUB) ** 2
        for u, v, other in circles.values()
      ):
        circles[i] = (x, y, r)
        break
    else:
      return _apart(dice, [r - r // 16 for r in radii])
  return [circles[i] for i in range(len(radii))]


def orientation(dice: Dice, label: int) -> np.ndarray:
  """One of four sprites, turned to within 9 degrees of a compass point."""
  image = background(dice)
  sprite = dice.choice(tuple(SPRITES.values()))
  radius = radius_of(sprite, dice.between(180, 420))
  x, y = (dice.between(radius, _SIDE - radius) for _ in range(2))
  outline = place(sprite, x, y, radius, 45 * label + dice.between(-9, 9))
  fill(image, outline, colour(dice, image))
  return image.astype(np.uint8)


def location(dice: Dice, label: int) -> np.ndarray:
  """A sprite in one of 4 x 4 cells, among bars that lie anywhere.

  The cells are 12 pixels wide, within a margin of 8; the centre keeps 2
  pixels off their borders.
  """
  image = background(dice)
  _scatter(dice, image, dice.between(4, 8))
  shape = dice.choice(tuple(SHAPES.values()))
  radius = radius_of(shape, dice.between(90, 160))
  row, column = divmod(label, _GRID)
  x, y = (
    (8 + 12 * cell) * SUB + dice.between(2 * SUB, 10 * SUB)
    for cell in (column, row)
  )
  outline = place(shape, x, y, radius, dice.between(0, 359))
  fill(image, outline, colour(dice, image))
  return image.astype(np.uint8)


def shape(dice: Dice, label: int) -> np.ndarray:
  """One of eight shapes, all of the same areas, behind and before bars."""
  image = background(dice)
  _scatter(dice, image, dice.between(8, 14))
  loops = tuple(SHAPES.values())[label]
  radius = radius_of(loops, dice.between(320, 600))
  x, y = (dice.between(18 * SUB, 46 * SUB) for _ in range(2))
  outline = place(loops, x, y, radius, dice.between(0, 359))
  fill(image, outline, colour(dice, image))
  _scatter(dice, image, dice.between(4, 7))
  return image.astype(np.uint8)


def clutter(dice: Dice, label: int) -> np.ndarray:
  """As `shape`, but larger, nearly upright and among fewer bars."""
  image = background(dice)
  _scatter(dice, image, dice.between(5, 9))
  loops = tuple(SHAPES.values())[label]
  radius = radius_of(loops, dice.between(500, 900))
  x, y = (dice.between(22 * SUB, 42 * SUB) for _ in range(2))
  outline = place(loops, x, y, radius, dice.between(-40, 40))
  fill(image, outline, colour(dice, image))
  _scatter(dice, image, dice.between(2, 4))
  return image.astype(np.uint8)


def relation(dice: Dice, label: int) -> np.ndarray:
  """Where a star lies from a disc of the same area: a compass point."""
  image = background(dice)
  _scatter(dice, image, dice.between(3, 6))
  distance = dice.between(19 * SUB, 25 * SUB)
  angle = 45 * label + dice.between(-10, 10)
  towards = place(UP, 0, 0, distance, angle)[0][0]
  size = dice.between(70, 130)
  margin = radius_of(SHAPES['star'], size)
  star, disc = _pair(dice, towards, margin)
  for name, (x, y) in (('star', star), ('disc', disc)):
    radius = radius_of(SHAPES[name], size)
    outline = place(SHAPES[name], x, y, radius, dice.between(0, 359))
    fill(image, outline, colour(dice, image))
  return image.astype(np.uint8)


def _pair(dice: Dice, towards, margin: int):
  """Two points `towards` apart, both that far inside the image."""
  second = []
  for shift in (int(v) for v in towards):
    low = margin + max(0, -shift)
    high = _SIDE - margin - max(0, shift)
    second.append(dice.between(low, max(low, high)))
  first = [p + int(shift) for p, shift in zip(second, towards, strict=True)]
  return first, second


def _scatter(dice: Dice, image: np.ndarray, number: int) -> None:
  """Draws thin bars of random colours anywhere."""
  for _ in range(number):
    x, y = (dice.between(0, _SIDE) for _ in range(2))
    radius = dice.between(5 * SUB, 12 * SUB)
    outline = place(BAR, x, y, radius, dice.between(0, 359))
    fill(image, outline, np.array([dice.between(0, 255) for _ in range(3)]))


TASKS: dict[str, Task] = {
  'count': Task(tuple('12345678'), count),
  'orientation': Task(_DIRECTIONS, orientation),
  'location': Task(
    tuple(f'row{r}_column{c}' for r in range(_GRID) for c in range(_GRID)),
    location,
  ),
  'shape': Task(tuple(SHAPES), shape),
  'relation': Task(_DIRECTIONS, relation),
  'clutter': Task(tuple(SHAPES), clutter),
  'glyph': Task(GLYPHS, glyph),
  'pulse': Task(RHYTHMS, pulse),
  'texture': Task(tuple(TEXTURES), texture),
  'pattern': Task(PATTERNS, pattern),
  'settlement': Task(LAYOUTS, settlement),
  'cells': Task(tuple(f'grade{k}' for k in range(len(GRADES))), cells),
  'distance': Task(tuple(f'bin{k}' for k in range(len(DEPTHS) - 1)), distance),
  'sprite_x': Task(tuple(str(k) for k in range(SPRITE_BINS)), sprite_x),
  'sprite_angle': Task(tuple(str(k) for k in range(SPRITE_BINS)), sprite_angle),
  'azimuth': Task(tuple(str(k) for k in range(AZIMUTHS)), azimuth),
  'elevation': Task(tuple(str(k) for k in range(ELEVATIONS)), elevation),
}
