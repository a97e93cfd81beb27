"""Short scenes whose classes differ in the order of their frames alone.

The classes come in pairs: a clip of the second is a clip of the first played
backwards. So the frames of both, taken one by one or all together without
their order, are the same, and no more than half of the answers can be right.
"""

from collections.abc import Callable
from typing import NamedTuple

import jaxtyping as jt
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
from lst.data.procedural.shapes import SHAPES, UP, Loops, radius_of

FRAMES = 16
_SIDE = SIZE * SUB
Points = list[tuple[int, int] | None]
Image = jt.Shaped[np.ndarray, 'h w 3']


class Actor(NamedTuple):
  """Something that is drawn: where in each frame, or None where it is not."""

  loops: Loops
  radius: int
  angle: int
  paint: np.ndarray
  points: Points


class Scene(NamedTuple):
  """A pair of classes: as it is drawn, and played backwards."""

  classes: tuple[str, str]
  draw: Callable[[Dice, Image], list[Actor]]


def _actor(dice: Dice, image, name: str, points: Points, size=(90, 150)):
  radius = radius_of(SHAPES[name], dice.between(*size))
  angle = dice.between(0, 359)
  return Actor(SHAPES[name], radius, angle, colour(dice, image), points)


def _between(start, end, places: list[int]) -> Points:
  """Points on the way from start to end; `places` counts up to 225."""
  return [
    tuple(a + (b - a) * k // 225 for a, b in zip(start, end, strict=True))
    for k in places
  ]


def direction(dice: Dice, image: Image) -> list[Actor]:
  """A shape crosses from left to right, a little up or down."""
  length = dice.between(26 * SUB, 38 * SUB)
  x = dice.between(10 * SUB, _SIDE - 10 * SUB - length)
  y, end = (dice.between(16 * SUB, 48 * SUB) for _ in range(2))
  end = y + (end - y) // 4
  even = [15 * k for k in range(FRAMES)]
  points = _between((x, y), (x + length, end), even)
  return [_actor(dice, image, dice.choice(tuple(SHAPES)), points)]


def speed(dice: Dice, image: Image) -> list[Actor]:
  """A shape sets off slowly and ends fast, in any direction."""
  angle = dice.between(0, 359)
  away = place(UP, 0, 0, dice.between(18 * SUB, 22 * SUB), angle)[0][0]
  centre = [dice.between(28 * SUB, 36 * SUB) for _ in range(2)]
  start, end = (
    tuple(int(c + side * a) for c, a in zip(centre, away, strict=True))
    for side in (-1, 1)
  )
  points = _between(start, end, [k * k for k in range(FRAMES)])
  return [_actor(dice, image, dice.choice(tuple(SHAPES)), points)]


def order(dice: Dice, image: Image) -> list[Actor]:
  """A disc lights up for a while, and later a star does."""
  actors = []
  for name, first in (('disc', 1), ('star', 9)):
    start = first + dice.between(0, 1)
    stop = start + dice.between(4, 5)
    spot = tuple(dice.between(14 * SUB, 50 * SUB) for _ in range(2))
    points = [spot if start <= k < stop else None for k in range(FRAMES)]
    actors.append(_actor(dice, image, name, points, (140, 240)))
  return actors


def hand_over(dice: Dice, image: Image) -> list[Actor]:
  """A square hands a small disc over to a triangle, on either side."""
  ends = [
    (x + dice.between(-3 * SUB, 3 * SUB), dice.between(18 * SUB, 46 * SUB))
    for x in (14 * SUB, 50 * SUB)
  ]
  if dice.between(0, 1):
    ends.reverse()
  moves = [225 * min(max(k - 2, 0), 11) // 11 for k in range(FRAMES)]
  still = [
    _actor(dice, image, name, [end] * FRAMES, (150, 210))
    for name, end in zip(('square', 'triangle'), ends, strict=True)
  ]
  carried = _between(*ends, moves)
  return [*still, _actor(dice, image, 'disc', carried, (45, 60))]


SCENES = (
  Scene(('left_to_right', 'right_to_left'), direction),
  Scene(('speeds_up', 'slows_down'), speed),
  Scene(('disc_then_star', 'star_then_disc'), order),
  Scene(('square_to_triangle', 'triangle_to_square'), hand_over),
)
CLASSES = tuple(name for scene in SCENES for name in scene.classes)


def draw(key: str, label: int) -> np.ndarray:
  """Draws a clip of a class; a pure function of its arguments.

  Returns:
    uint8 (FRAMES, 64, 64, 3).
  """
  dice = Dice(f'lst.data.video.scenes.1/{label}/{key}')
  image = background(dice)
  actors = SCENES[label // 2].draw(dice, image)
  frames = np.repeat(image[None], FRAMES, 0)
  for k, frame in enumerate(frames):
    for actor in actors:
      if actor.points[k]:
        fill(frame, place(
          actor.loops, *actor.points[k], actor.radius, actor.angle
        ), actor.paint)
  return frames.astype(np.uint8)[:: -1 if label % 2 else 1]
