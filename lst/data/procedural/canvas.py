"""An antialiased canvas in integer arithmetic: equal bits on any machine.

Positions are in 1 / 16 pixel from the upper left corner, angles in degrees,
clockwise. Each pixel is tested at 4 x 4 points.
"""

import math

import numpy as np

from lst.data.procedural.dice import Dice
from lst.data.procedural.shapes import UNIT, Loops

SIZE = 64
SUB = 16
_POINTS = 4
COS_UNIT = 1 << 14
_COS = [round(COS_UNIT * math.cos(math.radians(d))) for d in range(360)]
_CELL = 16


def background(dice: Dice) -> np.ndarray:
  """A smooth random texture under fine noise.

  Returns:
    int64 (64, 64, 3), 0 to 255.
  """
  base = np.array([dice.between(50, 205) for _ in range(3)])
  swing, grain = dice.between(10, 45), dice.between(4, 12)
  cells = SIZE // _CELL + 1
  lattice = dice.bytes(cells, cells, 3) - 128
  place = np.arange(SIZE)
  low, weight = place // _CELL, place % _CELL
  w = weight[:, None, None]
  rows = lattice[low] * (_CELL - w) + lattice[low + 1] * w
  w = weight[None, :, None]
  smooth = rows[:, low] * (_CELL - w) + rows[:, low + 1] * w
  noise = dice.bytes(SIZE, SIZE, 3) - 128
  image = base + smooth * swing // (128 * _CELL * _CELL)
  return np.clip(image + noise * grain // 128, 0, 255)


def colour(dice: Dice, image: np.ndarray) -> np.ndarray:
  """A random colour (3,) that stands out from an image (H, W, 3)."""
  mean = image.sum((0, 1)) // (SIZE * SIZE)
  while True:
    drawn = np.array([dice.between(0, 255) for _ in range(3)])
    if np.abs(drawn - mean).sum() >= 190:
      return drawn


def place(loops: Loops, x: int, y: int, radius: int, angle: int) -> Loops:
  """Turns and moves an outline to where it is drawn."""
  cos, sin = _COS[angle % 360], _COS[(angle - 90) % 360]
  turn = np.array([[cos, sin], [-sin, cos]])
  scale = UNIT * COS_UNIT
  return tuple(
    (loop @ turn * radius + scale // 2) // scale + np.array([x, y])
    for loop in loops
  )


def cosine(degrees: int) -> int:
  """1 << 14 times the cosine, as an integer."""
  return _COS[degrees % 360]


def sine(degrees: int) -> int:
  """1 << 14 times the sine, as an integer."""
  return _COS[(degrees - 90) % 360]


def fill(image: np.ndarray, loops: Loops, paint: np.ndarray) -> None:
  """Paints placed outlines onto an image (H, W, 3), in place."""
  points = np.concatenate(loops)
  low = np.clip(points.min(0) // SUB, 0, SIZE)
  high = np.clip(points.max(0) // SUB + 1, 0, SIZE)
  if (low >= high).any():
    return
  width, height = high - low
  inside = _inside(loops, low, width, height)
  cover = inside.reshape(height, _POINTS, width, _POINTS).sum((1, 3))[..., None]
  part = image[low[1] : high[1], low[0] : high[0]]
  whole = _POINTS * _POINTS
  part[:] = (part * (whole - cover) + paint * cover + whole // 2) // whole


def _inside(loops: Loops, low, width, height) -> np.ndarray:
  """Which of the points of some pixels are inside: (4 height, 4 width)."""
  step = SUB // _POINTS
  left, top = low * SUB + step // 2
  rows, columns = height * _POINTS, width * _POINTS
  ys = top + step * np.arange(rows)
  x, y = np.concatenate(loops).T[..., None]
  after = np.concatenate([np.roll(loop, -1, axis=0) for loop in loops])
  u, v = after.T[..., None]
  edge, row = np.nonzero((y > ys) != (v > ys))
  x, y, u, v = (z[edge, 0] for z in (x, y, u, v))
  rise = np.abs(v - y)
  # A point is left of the edge, x' < x + (u - x) (y' - y) / (v - y), up to a
  # column that a division rounded up gives exactly.
  bound = (ys[row] - y) * (u - x) * np.where(v > y, 1, -1) + (x - left) * rise
  first = np.clip(-(-bound // (step * rise)), 0, columns)
  turns = np.bincount(
    row * (columns + 1) + first, minlength=rows * (columns + 1))
  turns = turns.reshape(rows, columns + 1)[:, :columns]
  return np.cumsum(turns, 1) % 2
