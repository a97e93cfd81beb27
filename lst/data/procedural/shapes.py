"""Outlines of the sprites: closed loops of integer points, filled even-odd.

A unit is 1 / 1024 of the sprite's radius; x points right and y down. Rounding
to integers once makes everything that follows exact.
"""

import math

import numpy as np

UNIT = 1024
Loops = tuple[np.ndarray, ...]


def _fit(loops) -> Loops:
  """Scales loops to a radius of one, and to integers."""
  size = max(math.hypot(x, y) for loop in loops for x, y in loop)
  return tuple(
    np.array([[round(UNIT * v / size) for v in point] for point in loop])
    for loop in loops
  )


def _polar(radii, turn: float = -0.25):
  """A loop through equally spaced directions, the first straight up."""
  steps = [2 * math.pi * (turn + k / len(radii)) for k in range(len(radii))]
  return [
    (r * math.cos(a), r * math.sin(a))
    for r, a in zip(radii, steps, strict=True)
  ]


def _crescent():
  """A disc less a smaller one: along the outer arc and back by the inner."""
  start, shift = 0.14 * math.pi, 0.42
  x, y = math.cos(start) - shift, math.sin(start)
  radius, tip = math.hypot(x, y), math.atan2(y, x)
  outer = [start + k / 20 * 2 * (math.pi - start) for k in range(21)]
  inner = [-tip - k / 16 * 2 * (math.pi - tip) for k in range(1, 16)]
  return [(math.cos(a), math.sin(a)) for a in outer] + [
    (shift + radius * math.cos(a), radius * math.sin(a)) for a in inner
  ]


def _drop():
  """A disc drawn out to a point at the top."""
  arc = [math.pi * (-0.2 + 1.4 * k / 16) for k in range(17)]
  return [(0, -1)] + [
    (0.55 * math.cos(a), 0.4 + 0.55 * math.sin(a)) for a in arc
  ]


_PLUS = (
  (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
  (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3),
)
_ZIGZAG = (
  (-0.9, -0.75), (0.3, -0.75), (0.3, 0.35), (0.9, 0.35), (0.9, 0.75),
  (-0.3, 0.75), (-0.3, -0.35), (-0.9, -0.35),
)
_ARROW = (
  (0, -1), (0.75, -0.1), (0.28, -0.1), (0.28, 1), (-0.28, 1), (-0.28, -0.1),
  (-0.75, -0.1),
)
_FLAG = ((-0.6, -1), (0.7, -0.6), (-0.3, -0.1), (-0.3, 1), (-0.6, 1))
_LETTER = (
  (-0.55, -1), (0.6, -1), (0.6, -0.6), (-0.12, -0.6), (-0.12, -0.2),
  (0.4, -0.2), (0.4, 0.2), (-0.12, 0.2), (-0.12, 1), (-0.55, 1),
)

# One can tell these apart, whatever way they are turned.
SHAPES: dict[str, Loops] = {
  'disc': _fit([_polar([1] * 24)]),
  'ring': _fit([_polar([1] * 24), _polar([0.6] * 24)]),
  'square': _fit([_polar([1] * 4, -0.125)]),
  'triangle': _fit([_polar([1] * 3)]),
  'star': _fit([_polar([1, 0.42] * 5)]),
  'plus': _fit([_PLUS]),
  'crescent': _fit([_crescent()]),
  'zigzag': _fit([_ZIGZAG]),
}

# Of these, drawn upright, one can tell what way they are turned.
SPRITES: dict[str, Loops] = {
  'arrow': _fit([_ARROW]),
  'drop': _fit([_drop()]),
  'flag': _fit([_FLAG]),
  'letter': _fit([_LETTER]),
}

BAR: Loops = _fit([((-1, -0.1), (1, -0.1), (1, 0.1), (-1, 0.1))])
UP: Loops = _fit([((0, -1),)])


def area(loops: Loops) -> int:
  """Twice the filled area in square units; later loops are holes."""
  doubles = []
  for loop in loops:
    (x, y), (u, v) = loop.T, np.roll(loop, -1, axis=0).T
    doubles.append(abs(int((x * v - u * y).sum())))
  return doubles[0] - sum(doubles[1:])


def radius_of(loops: Loops, pixels: int) -> int:
  """The radius, in 1 / 16 pixel, at which a sprite covers so many pixels."""
  return math.isqrt(2 * pixels * 256 * UNIT * UNIT // area(loops))
