"""Tasks of surfaces: the class of a texture, the order of three colours."""

import math
from collections.abc import Callable

import numpy as np

from lst.data.procedural.canvas import (
  COS_UNIT,
  SIZE,
  SUB,
  background,
  cosine,
  fill,
  place,
  sine,
)
from lst.data.procedural.dice import Dice
from lst.data.procedural.shapes import SHAPES, UNIT

# A texture is found at 2 x 2 points a pixel; a period of it is 256 long.
_FINE = 2
PERIOD = 256
Grid = np.ndarray


def smooth(dice: Dice, cell: int) -> Grid:
  """Smooth noise of (128, 128), -128 to 127, that turns within `cell` points.
  """
  count = SIZE * _FINE // cell + 2
  lattice = dice.bytes(count, count) - 128
  low, weight = np.divmod(np.arange(SIZE * _FINE), cell)
  w = weight[:, None]
  rows = lattice[low] * (cell - w) + lattice[low + 1] * w
  return (rows[:, low] * (cell - weight) + rows[:, low + 1] * weight) // cell**2


def _wave(phase: Grid) -> Grid:
  """A parabola's wave of one period: -128 to 128, nearly a sine."""
  x = phase % PERIOD - 128
  arch = 128 - (np.abs(x) * 4 - 256) ** 2 // 512
  return np.where(x < 0, arch, -arch)


def _stripes(dice: Dice, u: Grid, v: Grid) -> Grid:
  return u % PERIOD < 128


def _checks(dice: Dice, u: Grid, v: Grid) -> Grid:
  return ((u >> 7) + (v >> 7)) % 2 == 0


def _dots(dice: Dice, u: Grid, v: Grid) -> Grid:
  return (u % PERIOD - 128) ** 2 + (v % PERIOD - 128) ** 2 < 102**2


def _bricks(dice: Dice, u: Grid, v: Grid) -> Grid:
  row = v // 128
  return (v % 128 > 30) & ((u + row % 2 * 128) % PERIOD > 30)


def _waves(dice: Dice, u: Grid, v: Grid) -> Grid:
  return (u + 2 * _wave(v // 2) // 3) % PERIOD < 128


def _chevrons(dice: Dice, u: Grid, v: Grid) -> Grid:
  return (u + np.abs(v % PERIOD - 128)) % 128 < 64


def _weave(dice: Dice, u: Grid, v: Grid) -> Grid:
  over = ((u >> 7) + (v >> 7)) % 2 == 0
  return np.where(over, u % 128, v % 128) // 32 % 2 == 0


def _scales(dice: Dice, u: Grid, v: Grid) -> Grid:
  """Rows of overlapping rims, each row half a period on."""
  row = v // 128
  across = (u + row % 2 * 128) % PERIOD - 128
  rim = across**2 + (v % 128) ** 2
  return (rim > 92**2) & (rim < 150**2)


def _rings(dice: Dice, u: Grid, v: Grid) -> Grid:
  away = (u % PERIOD - 128) ** 2 + (v % PERIOD - 128) ** 2
  return ((away > 60**2) & (away < 112**2)) | (away < 24**2)


def _blotches(dice: Dice, u: Grid, v: Grid) -> Grid:
  return smooth(dice, 16) + smooth(dice, 8) // 2 > 0


TEXTURES: dict[str, Callable[[Dice, Grid, Grid], Grid]] = {
  'stripes': _stripes, 'checks': _checks, 'dots': _dots, 'bricks': _bricks,
  'waves': _waves, 'chevrons': _chevrons, 'weave': _weave, 'scales': _scales,
  'rings': _rings, 'blotches': _blotches,
}


def texture(dice: Dice, label: int) -> np.ndarray:
  """One of ten textures in two colours, at any angle and scale, bent.

  Light falls on it unevenly; either colour may be that of the figure.
  """
  turn, period = dice.between(0, 359), dice.between(9, 17) * _FINE
  place_ = np.arange(SIZE * _FINE)
  x = place_[None, :] * PERIOD + smooth(dice, 32) * period // 2
  y = place_[:, None] * PERIOD + smooth(dice, 32) * period // 2
  unit = COS_UNIT * period
  start = dice.between(0, 255), dice.between(0, 255)
  u = (x * cosine(turn) + y * sine(turn)) // unit + start[0]
  v = (y * cosine(turn) - x * sine(turn)) // unit + start[1]
  figure = tuple(TEXTURES.values())[label](dice, u, v)
  one, other = _two_colours(dice)
  image = np.where(figure[..., None], one, other)
  light = 256 + smooth(dice, 64) * dice.between(0, 90) // 128
  image = image * light[..., None] // 256
  fine = image.reshape(SIZE, _FINE, SIZE, _FINE, 3).sum((1, 3)) // _FINE**2
  noise = (dice.bytes(SIZE, SIZE, 3) - 128) * dice.between(6, 26) // 128
  return np.clip(fine + noise, 0, 255).astype(np.uint8)


def _two_colours(dice: Dice) -> tuple[np.ndarray, np.ndarray]:
  while True:
    one, other = (
      np.array([dice.between(20, 235) for _ in range(3)]) for _ in range(2)
    )
    if np.abs(one - other).sum() >= 150:
      return one, other


ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
_HUES = 'rgb'
PATTERNS = tuple(
  f'{kind}_{"".join(_HUES[k] for k in order)}'
  for kind in ('rings', 'bands') for order in ORDERS
)


def pattern(dice: Dice, label: int) -> np.ndarray:
  """A badge of a red, a green and a blue: which is where.

  Rings from the outside in, or bands from the top down; each colour covers as
  much as the others, and varies in its tint and lightness.
  """
  image = background(dice)
  hues = [_tint(dice, k) for k in range(3)]
  kind, order = divmod(label, len(ORDERS))
  radius = dice.between(15 * SUB, 26 * SUB)
  x, y = (dice.between(radius, SIZE * SUB - radius) for _ in range(2))
  turn = dice.between(-20, 20)
  for part, hue in enumerate(ORDERS[order]):
    if kind:
      # A third of a square's height each.
      edge, high = UNIT * 3 // 4, UNIT // 2
      top = part * high - edge
      loop = np.array([
        (-edge, top), (edge, top), (edge, top + high), (-edge, top + high)])
      fill(image, place((loop,), x, y, radius, turn), hues[hue])
    else:
      inner = math.isqrt(radius**2 * (3 - part) // 3)
      fill(image, place(SHAPES['disc'], x, y, inner, turn), hues[hue])
  return image.astype(np.uint8)


def _tint(dice: Dice, strong: int) -> np.ndarray:
  """A colour with most of one channel."""
  out = np.array([dice.between(20, 120) for _ in range(3)])
  out[strong] = dice.between(160, 250)
  return out
