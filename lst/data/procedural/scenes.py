"""Tasks of things in a place: depth, land from above, cells, single sprites."""

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
from lst.data.procedural.strokes import line

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


LAND = ('fields', 'orchard', 'houses', 'forest', 'river', 'crossing',
        'car_park', 'lake')


def aerial(dice: Dice, label: int) -> np.ndarray:
  """Land from above, from any side: one of eight uses.

  All share the same earths and greens, light and noise.
  """
  image = background(dice) // 2 + np.array([
    dice.between(20, 70), dice.between(40, 80), dice.between(10, 50)])
  turn = dice.between(0, 359)
  cos, sin = cosine(turn), sine(turn)
  middle = _SIDE // 2 + dice.between(-8 * SUB, 8 * SUB)

  def at(x: int, y: int) -> tuple[int, int]:
    return (middle + (x * cos - y * sin) // COS_UNIT,
            middle + (x * sin + y * cos) // COS_UNIT)

  def spot(shape, x: int, y: int, radius: int, paint, more: int = 0) -> None:
    fill(image, place(shape, *at(x, y), radius, turn + more), paint)

  _LAND[LAND[label]](dice, image, at, spot)
  noise = (dice.bytes(SIZE, SIZE, 3) - 128) * dice.between(8, 24) // 128
  return np.clip(image + noise, 0, 255).astype(np.uint8)


def _earth(dice: Dice) -> np.ndarray:
  return np.array([
    dice.between(40, 170), dice.between(60, 170), dice.between(20, 110)])


_FAR = 60 * SUB


def _fields(dice, image, at, spot):
  edge = -_FAR
  while edge < _FAR:
    wide = dice.between(10, 22) * SUB
    line(image, at(-_FAR, edge), at(_FAR, edge), 2 * wide, _earth(dice))
    edge += wide


def _orchard(dice, image, at, spot):
  apart, paint = dice.between(7, 10) * SUB, _earth(dice) // 2
  radius = apart * dice.between(28, 38) // 100
  for x in range(-_FAR, _FAR, apart):
    for y in range(-_FAR, _FAR, apart):
      spot(SHAPES['disc'], x, y, radius, paint)


def _houses(dice, image, at, spot):
  line(image, at(-_FAR, 0), at(_FAR, 0), dice.between(3, 5) * SUB,
       np.array([dice.between(90, 150)] * 3))
  step = dice.between(11, 14) * SUB
  for row in (-2, -1, 1, 2):
    for x in range(-_FAR, _FAR, step):
      y = row * 12 * SUB + dice.between(-24, 24)
      spot(_BLOCK, x + dice.between(-32, 32), y, dice.between(56, 80),
           _earth(dice) + 50, dice.between(-12, 12))


def _forest(dice, image, at, spot):
  paint = _earth(dice) // 2
  for _ in range(90):
    x, y = (dice.between(-_FAR * 3 // 4, _FAR * 3 // 4) for _ in range(2))
    spot(SHAPES['disc'], x, y, dice.between(36, 68),
         paint + dice.between(-10, 30))


def _river(dice, image, at, spot):
  wide, bend = dice.between(6, 12) * SUB, dice.between(5, 12) * SUB
  long, start = dice.between(5, 9), dice.between(0, 359)
  paint = _earth(dice) * 2 // 3
  points = [
    at(k * 4 * SUB, bend * sine(start + long * 4 * k) // COS_UNIT)
    for k in range(-15, 16)]
  for one, other in zip(points[:-1], points[1:], strict=True):
    line(image, one, other, wide, paint)
    fill(image, place(SHAPES['disc'], *other, wide // 2, 0), paint)


def _crossing(dice, image, at, spot):
  paint = np.array([dice.between(70, 150)] * 3)
  wide = dice.between(6, 11) * SUB
  for x, y in ((_FAR, 0), (0, _FAR)):
    line(image, at(-x, -y), at(x, y), wide, paint)
    line(image, at(-x, -y), at(x, y), 12, paint + 80)


def _car_park(dice, image, at, spot):
  high = dice.between(10, 13) * SUB
  ground = np.array([dice.between(70, 140)] * 3)
  line(image, at(-_FAR, 0), at(_FAR, 0), 2 * _FAR, ground)
  for y in range(-_FAR, _FAR, high):
    for x in range(-_FAR, _FAR, 5 * SUB):
      if dice.between(0, 3):
        line(image, at(x, y - high // 4), at(x, y + high // 4), 3 * SUB,
             _earth(dice) + dice.between(-40, 80))


def _lake(dice, image, at, spot):
  paint = _earth(dice) * 2 // 3
  for _ in range(5):
    x, y = (dice.between(-8 * SUB, 8 * SUB) for _ in range(2))
    spot(SHAPES['disc'], x, y, dice.between(9, 14) * SUB, paint)


_LAND = dict(zip(LAND, (
  _fields, _orchard, _houses, _forest, _river, _crossing, _car_park, _lake),
  strict=True))

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
