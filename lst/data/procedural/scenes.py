"""Tasks of things in a place: on a plain, from above, on a slide, alone."""

import numpy as np

from lst.data.procedural.canvas import (
  COS_UNIT,
  SIZE,
  SUB,
  background,
  colour,
  cosine,
  fill,
  place,
  sine,
)
from lst.data.procedural.dice import Dice
from lst.data.procedural.shapes import SHAPES, SPRITES, UNIT, radius_of

_SIDE = SIZE * SUB
_BLOCK = (np.array([(-UNIT, -UNIT), (UNIT, -UNIT), (UNIT, UNIT), (-UNIT, UNIT)]
                   ) * 7 // 10,)
# Depths of the bins of `distance`, in 1 / 16 of the camera's height; the
# ground meets the picture's lower edge at a depth of about 15 / 16.
DEPTHS = (21, 27, 34, 43, 55, 71, 92)
_HORIZON, _FOCUS = 14 * SUB, 64 * SUB


def distance(dice: Dice, label: int) -> np.ndarray:
  """The nearest of two to five balls and blocks on a plain: one of six depths.

  Their true sizes differ by a factor of three, so a large one may be a far
  one; the camera is tilted a little.
  """
  horizon = _HORIZON + dice.between(-2 * SUB, 2 * SUB)
  image = _plain(dice, horizon // SUB)
  low, high = DEPTHS[label], DEPTHS[label + 1]
  near = dice.between(low + 1, high - 1)
  others = [dice.between(near + 3, 130) for _ in range(dice.between(1, 4))]
  for depth in sorted([near, *others], reverse=True):
    radius = _FOCUS * dice.between(3, 9) // (2 * depth)
    foot = horizon + _FOCUS * 16 * 3 // (4 * depth)
    x = dice.between(radius // 2, _SIDE - radius // 2)
    paint = colour(dice, image)
    shadow = place(SHAPES['disc'], x, foot, radius, 0)
    at = np.array([x, foot])
    dark = image[min(foot // SUB, SIZE - 1), min(x // SUB, SIZE - 1)] // 2
    fill(image, tuple((p - at) * [8, 2] // 8 + at for p in shadow), dark)
    outline = dice.choice((SHAPES['disc'], _BLOCK, SHAPES['triangle']))
    bottom = int(place(outline, 0, 0, radius, 0)[0][:, 1].max())
    fill(image, place(outline, x, foot - bottom, radius, 0), paint)
  return image.astype(np.uint8)


def _plain(dice: Dice, split: int) -> np.ndarray:
  """A sky over a ground from a row on, both with some noise and light."""
  image = background(dice)
  sky = np.array([dice.between(-20, 40) for _ in range(3)])
  image[:split] = np.clip(image[:split] + 60 + sky, 0, 255)
  fade = np.arange(SIZE - split)[:, None, None]
  image[split:] = np.clip(image[split:] + 20 - fade, 0, 255)
  return image


LAYOUTS = ('row', 'cross', 'ring', 'grid', 'cluster', 'pair', 'scatter', 'bend')
_HOUSES = 24


def settlement(dice: Dice, label: int) -> np.ndarray:
  """Twenty-four houses among trees from above: one of eight layouts.

  Turned and moved; houses and trees are as many and as large in all of them.
  """
  image = background(dice) // 2 + np.array([
    dice.between(20, 70), dice.between(40, 80), dice.between(10, 50)])
  turn = dice.between(0, 359)
  cos, sin = cosine(turn), sine(turn)
  middle = [_SIDE // 2 + dice.between(-4 * SUB, 4 * SUB) for _ in range(2)]
  roof = colour(dice, image)
  tree = image.mean((0, 1)).astype(np.int64) // 2
  for _ in range(dice.between(12, 18)):
    x, y = (dice.between(0, _SIDE) for _ in range(2))
    fill(image, place(SHAPES['disc'], x, y, dice.between(24, 44), 0), tree)
  for number in range(_HOUSES):
    x, y = (v * SUB + dice.between(-12, 12)
            for v in _PLACES[LAYOUTS[label]](dice, number))
    at = (middle[0] + (x * cos - y * sin) // COS_UNIT,
          middle[1] + (x * sin + y * cos) // COS_UNIT)
    outline = place(_BLOCK, *at, dice.between(34, 48), dice.between(0, 89))
    fill(image, outline, roof + dice.between(-15, 15))
  return np.clip(image, 0, 255).astype(np.uint8)


def _around(dice: Dice, x: int, y: int, radius: int) -> tuple[int, int]:
  """A point of a disc, in pixels."""
  while True:
    u, v = (dice.between(-radius, radius) for _ in range(2))
    if u * u + v * v <= radius * radius:
      return x + u, y + v


def _ring(dice: Dice, k: int) -> tuple[int, int]:
  return 19 * cosine(15 * k) // COS_UNIT, 19 * sine(15 * k) // COS_UNIT


def _bend(dice: Dice, k: int) -> tuple[int, int]:
  x = k // 2 * 5 - 27
  return x, k % 2 * 7 - 3 + x * x // 28 - 10


# Of a house, from its number; in pixels from the middle.
_PLACES = {
  'row': lambda dice, k: (k // 2 * 5 - 27, k % 2 * 7 - 3),
  'cross': lambda dice, k: (
    (k // 4 * 9 - 24, k % 2 * 7 - 3) if k % 4 < 2
    else (k % 2 * 7 - 3, k // 4 * 9 - 24)),
  'ring': _ring,
  'grid': lambda dice, k: (k % 5 * 10 - 20, k // 5 * 10 - 20),
  'cluster': lambda dice, k: _around(dice, 0, 0, 14),
  'pair': lambda dice, k: _around(dice, k % 2 * 34 - 17, 0, 9),
  'scatter': lambda dice, k: _around(dice, 0, 0, 28),
  'bend': _bend,
}

# Cells with two nuclei that a slide of each grade has, at least and at most.
GRADES = ((0, 0), (1, 1), (2, 3), (4, 6), (7, 9))


def cells(dice: Dice, label: int) -> np.ndarray:
  """A slide of 13 to 16 stained cells: how many of them have two nuclei.

  The two nuclei cover as much as the one of other cells.
  """
  image = background(dice) // 4 + np.array([
    dice.between(140, 175), dice.between(120, 150), dice.between(135, 170)])
  stain = np.array([
    dice.between(60, 120), dice.between(20, 70), dice.between(80, 140)])
  body = (image.mean((0, 1)).astype(np.int64) * 2 + stain) // 3
  total, odd = dice.between(13, 16), dice.between(*GRADES[label])
  spots = [(row, column) for row in range(4) for column in range(4)]
  for number in range(total):
    row, column = spots.pop(dice.between(0, len(spots) - 1))
    x, y = (k * 15 * SUB + 9 * SUB + dice.between(-24, 40)
            for k in (column, row))
    radius, turn = dice.between(92, 112), dice.between(0, 359)
    shade = dice.between(-12, 12)
    fill(image, place(SHAPES['disc'], x, y, radius, 0), body + shade)
    _nuclei(dice, image, (x, y), turn, 1 + (number < odd), stain + shade)
  return np.clip(image, 0, 255).astype(np.uint8)


def _nuclei(dice: Dice, image, at, turn: int, count: int, paint) -> None:
  """One nucleus, or two of half its area on either side."""
  area = dice.between(24, 34)
  shift = (0,) if count == 1 else (-50, 50)
  for far in shift:
    x = at[0] + far * cosine(turn) // COS_UNIT
    y = at[1] + far * sine(turn) // COS_UNIT
    radius = radius_of(SHAPES['disc'], area // count)
    fill(image, place(SHAPES['disc'], x, y, radius, 0), paint)


SPRITE_BINS = 16


def sprite_x(dice: Dice, label: int) -> np.ndarray:
  """How far right a sprite lies: 16 bins, as of dSprites' factor.

  Shape, size, angle, height and the two greys vary.
  """
  names = ('crescent', 'square', 'triangle', 'plus')
  outline = SHAPES[dice.choice(names)]
  bin_ = (_SIDE - 24 * SUB) // SPRITE_BINS
  x = 12 * SUB + label * bin_ + dice.between(4, bin_ - 4)
  return _sprite(dice, outline, x, dice.between(0, 359))


def sprite_angle(dice: Dice, label: int) -> np.ndarray:
  """Which way a sprite points: 16 bins, as of dSprites' factor.

  The bins are 22.5 degrees apart and 15 wide; of each of the four sprites one
  can tell what way it is turned.
  """
  outline = dice.choice(tuple(SPRITES.values()))
  turn = label * 45 // 2 + dice.between(-7, 7)
  x = dice.between(12 * SUB, _SIDE - 12 * SUB)
  return _sprite(dice, outline, x, turn)


def _sprite(dice: Dice, outline, x: int, turn: int) -> np.ndarray:
  """A light sprite of one of six sizes on a dark ground."""
  image = np.zeros((SIZE, SIZE, 3), np.int64) + dice.between(0, 60)
  radius = (14 + 2 * dice.between(0, 5)) * SUB // 2
  y = dice.between(12 * SUB, _SIDE - 12 * SUB)
  fill(image, place(outline, x, y, radius, turn),
       np.array([dice.between(150, 255)] * 3))
  return image.astype(np.uint8)
