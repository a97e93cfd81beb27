"""What a family of checkpoints is: how to know it, and what to make of it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lst.backbones.vit import ViT

Shape = tuple[int, ...]

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711))


class Row(NamedTuple):
  """One parameter, the tensors it is made of, and how."""

  to: str  # its path in the canonical tree, as in 'block_0/mlp/up/kernel'
  sources: dict[str, Shape]  # tensor name -> the shape it must have
  make: Callable[..., np.ndarray]  # the tensors, in this order -> parameter


class Given(NamedTuple):
  """What a checkpoint comes with besides tensors; all may be empty."""

  config: dict  # config.json
  preprocessor: dict  # preprocessor_config.json
  metadata: dict[str, str]  # of the safetensors file


class Reading(NamedTuple):
  """What a family makes of the shapes in a file."""

  vit: ViT
  rows: list[Row]
  cls: bool  # prefix token 0 is a CLS token
  image_size: tuple[int, int]
  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  norm_eps: float = 0.0  # of the final norm; 0 = that of the others


class Family(NamedTuple):
  """A naming scheme of checkpoints.

  Attributes:
    name: as errors and `Checkpoint.family` give it.
    marks: tensor names that a file of this family holds, all below one root
      such as 'vision_model.'.
    ignored: patterns of tensors known to be of no use here (heads, text
      towers); anything else that is left over is an error.
    read: ({name below the root: shape}, Given) -> Reading.
    rank: dimensions of the first mark, where names do not tell the family; 0
      where they do.
  """

  name: str
  marks: tuple[str, ...]
  ignored: tuple[str, ...]
  read: Callable[[dict[str, Shape], Given], Reading]
  rank: int = 0


def shape_of(shapes: dict[str, Shape], name: str, rank: int) -> Shape:
  """The shape of a tensor without which nothing else can be told."""
  if name not in shapes:
    raise ValueError(f'missing (1): {name}, which tells the size of the model')
  if len(shapes[name]) != rank:
    raise ValueError(
        f'mis-shaped (1): {name} has shape {shapes[name]}, where {rank} '
        'dimensions are needed')
  return shapes[name]


def depth_of(shapes: dict[str, Shape], block: str, sep: str) -> int:
  """1 + the greatest n of the names that begin with `block.format(n)`."""
  start = block.split('{}')[0]
  heads = (k[len(start):].split(sep)[0] for k in shapes if k.startswith(start))
  return 1 + max((int(n) for n in heads if n.isdigit()), default=-1)


def grid_of(
    entries: int, extra: tuple[int, ...], sides: tuple[int, ...] | None
) -> tuple[tuple[int, ...], int]:
  """(([times,] rows, columns), entries of prefix tokens) of positions.

  Args:
    entries: rows of the position table.
    extra: how many of them may belong to prefix tokens, likeliest first.
    sides: the grid that a config declares; without one it is a square. That
      of clips has to be given.
  """
  for n in extra:
    if sides and math.prod(sides) == entries - n:
      return sides, n
  for n in extra if not sides or len(sides) == 2 else ():
    side = math.isqrt(max(entries - n, 0))
    if side and side * side == entries - n:
      return (side, side), n
  raise ValueError(
      f'{entries} positions are no square grid after {extra} of prefix tokens'
      f'{f", nor {sides} of them" if sides else ""}: put a config.json that '
      'declares the size of images (and number of frames) beside the weights')


def heads_of(width: int, given: int | None, table: dict[int, int]) -> int:
  """Attention heads, which shapes do not tell: declared, usual, or D / 64."""
  heads = given or table.get(width) or (width // 64 if width % 64 == 0 else 0)
  if not heads or width % heads:
    raise ValueError(
        f'{heads or "no"} attention heads for a width of {width}: put the '
        "model's config.json beside the weights")
  return heads


def pair(size: int | list | tuple) -> tuple[int, int]:
  """(height, width) of one number or of two."""
  return (size, size) if isinstance(size, int) else (size[0], size[1])
