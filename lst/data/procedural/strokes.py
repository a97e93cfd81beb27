"""Lines of a width, and the tasks that are drawn with them."""

import itertools
import math

import numpy as np

from lst.data.procedural.canvas import (
  COS_UNIT,
  SIZE,
  SUB,
  background,
  colour,
  cosine,
  fill,
  sine,
)
from lst.data.procedural.dice import Dice

Point = tuple[int, int]


def line(image: np.ndarray, start: Point, stop: Point, width: int, paint):
  """Paints a straight line with square ends onto an image (h, w, 3), in place.

  Places and widths are in 1 / 16 pixel.
  """
  (x, y), (u, v) = start, stop
  long = max(1, math.isqrt((u - x) ** 2 + (v - y) ** 2))
  along = (u - x) * width // (2 * long), (v - y) * width // (2 * long)
  a, b = along
  corners = [
    (x - a - b, y - b + a), (x - a + b, y - b - a),
    (u + a + b, v + b - a), (u + a - b, v + b + a),
  ]
  fill(image, (np.array(corners),), paint)


# Stems and marks on a grid of 4 x 4 steps; a glyph is one of each, so that its
# nearest others differ in a single short line.
_STEMS = (
  (((0, 0), (0, 4)), ((0, 4), (4, 4)), ((4, 4), (4, 1))),
  (((0, 4), (2, 0)), ((2, 0), (4, 4)), ((1, 2), (3, 2))),
  (((0, 0), (4, 0)), ((4, 0), (0, 4)), ((0, 4), (4, 4))),
  (((2, 0), (2, 4)), ((0, 1), (4, 1)), ((2, 4), (4, 3))),
)
_MARKS = (
  (),
  (((1, 1), (1, 2)),),
  (((2, 3), (3, 3)),),
  (((3, 1), (4, 2)),),
)
GLYPHS = tuple(
  f'stem{s}_mark{m}' for s in range(len(_STEMS)) for m in range(len(_MARKS))
)


def glyph(dice: Dice, label: int) -> np.ndarray:
  """One of 16 characters: four stems, each with one of four small marks.

  Size, place, slant, turn, the ends of the lines and their width vary.
  """
  image = background(dice)
  paint = colour(dice, image)
  stem, mark = divmod(label, len(_MARKS))
  step, width = dice.between(8 * SUB, 11 * SUB), dice.between(40, 72)
  turn, slant = dice.between(-14, 14), dice.between(-30, 30)
  cos, sin = cosine(turn), sine(turn)
  left, top = (dice.between(-5 * SUB, 5 * SUB) + SIZE * SUB // 2 for _ in 'xy')

  def at(point: Point) -> Point:
    x, y = ((2 * k - 4) * step // 2 + dice.between(-20, 20) for k in point)
    x += y * slant // 100
    return (
      left + (x * cos - y * sin) // COS_UNIT,
      top + (x * sin + y * cos) // COS_UNIT,
    )

  for start, stop in (*_STEMS[stem], *_MARKS[mark]):
    line(image, at(start), at(stop), width, paint)
  return image.astype(np.uint8)


# Of a beat, (time, height) in 1 / 16 of its width and 1 / 64 of its height.
_BEAT = ((0, 0), (2, 8), (4, 0), (5, -10), (7, 64), (9, -22), (11, 0),
         (13, 14), (16, 0))
RHYTHMS = ('regular', 'skipped', 'early', 'irregular', 'inverted', 'broad')
_BEAT_WIDTH = 9 * SUB


def pulse(dice: Dice, label: int) -> np.ndarray:
  """A trace of a heart on ruled paper: one of six rhythms.

  But for the irregular one the beats are evenly apart, and a single one
  inside the trace is left out, early, upside down or broad.
  """
  image = background(dice) // 3 + dice.between(120, 165)
  ink = np.array([dice.between(0, 110) for _ in range(3)])
  _rule(dice, image)
  every = dice.between(13 * SUB, 17 * SUB)
  start = dice.between(-every, 0) + every // 4
  times = list(range(start, (SIZE + 20) * SUB, every))
  odd = dice.between(1, 3)
  kind = RHYTHMS[label]
  beats = []
  for k, time in enumerate(times):
    width, height = _BEAT_WIDTH, dice.between(58, 70)
    if kind == 'irregular':
      time += dice.between(-every * 3 // 8, every * 3 // 8)
    elif k == odd and kind == 'skipped':
      continue
    elif k == odd and kind == 'early':
      time -= every * 3 // 8
    elif k == odd and kind == 'inverted':
      height = -height
    elif k == odd and kind == 'broad':
      width = width * 7 // 4
    beats.append((time, width, height))
  _trace(dice, image, beats, ink)
  return np.clip(image, 0, 255).astype(np.uint8)


def _rule(dice: Dice, image: np.ndarray) -> None:
  """Thin lines at an even distance, across and down."""
  apart, first = dice.between(7, 10), dice.between(0, 6)
  shade = np.array([dice.between(-38, -8) for _ in range(3)])
  image[first::apart] += shade
  image[:, first::apart] += shade


def _trace(dice: Dice, image: np.ndarray, beats, ink) -> None:
  base = dice.between(30 * SUB, 42 * SUB)
  size, width = dice.between(14 * SUB, 24 * SUB), dice.between(22, 34)
  drift = dice.between(-5 * SUB, 5 * SUB)
  points = [(-4 * SUB, base)]
  for time, long, height in beats:
    for x, y in _BEAT:
      here = max(time + x * long // 16, points[-1][0])
      points.append((
        here,
        base + drift * here // (SIZE * SUB) - y * height * size // 4096
        + dice.between(-8, 8),
      ))
  points.append(((SIZE + 4) * SUB, base + drift))
  for start, stop in itertools.pairwise(points):
    line(image, start, stop, width, ink)
