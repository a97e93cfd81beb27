"""What is measured: models, inputs and methods, as cases."""

from typing import Any, NamedTuple

CLASSES = 400
RANK, LORA_RANK = 16, 8
MODELS = ('B/16', 'L/16', 'g/14', 'e/14', 'dinov3_7b/16')
# (frames, batch): images, clips, and one clip of 32 frames.
WORKS = ((0, 64), (16, 4), (32, 1))
# Small enough for a CPU, and compiled in little time, to run slowly.
REHEARSED = {'models': ('Ti/16',), 'works': ((0, 4), (4, 1)), 'size': 32,
             'rounds': 1, 'steps': 5, 'most': 2, 'timeout': 900.0}
FORWARD = 'forward'
# What each changes of a config; 'forward' is the frozen pass by itself.
METHODS: dict[str, dict[str, Any]] = {
    FORWARD: {},
    'losa': {'side.name': 'losa', 'side.rank': RANK},
    'linear': {'side.name': 'linear'},
    'lst': {'side.name': 'lst'},
    'lora': {'method': 'lora'},
    'lora_remat': {'method': 'lora', 'tuning.remat': True},
    'st_adapter': {'method': 'st_adapter'},
    'full': {'method': 'full'},
}
# Of videos alone.
OF_CLIPS = ('st_adapter',)
# The claim of the paper: a case of its own, its allocator held to so much.
CAPPED = {'model': 'e/14', 'frames': 32, 'batch': 1, 'method': 'losa',
          'cap_gib': 16.0}


class Case(NamedTuple):
  """One thing to measure, in a process of its own.

  Attributes:
    model: size and patch, as in 'B/16'.
    frames: of a clip; 0 for images.
    batch: clips or images in a step.
    method: see `METHODS`.
    size: side of an image in pixels.
    cap_gib: that the allocator is held to; 0 = all of the device.
  """

  model: str
  frames: int
  batch: int
  method: str
  size: int = 224
  cap_gib: float = 0.0

  @property
  def name(self) -> str:
    """For people."""
    what = f'{self.frames} frames' if self.frames else 'images'
    cap = f', capped at {self.cap_gib:g} GiB' if self.cap_gib else ''
    return f'{self.model} {self.batch} x {what} {self.method}{cap}'


def plan(models, works, methods=(), size: int = 224) -> list[list[Case]]:
  """Groups of cases that take turns: one for each model and input."""
  return [
      [Case(model, frames, batch, method, size) for method in METHODS
       if (not methods or method in methods)
       and (frames or method not in OF_CLIPS)]
      for model in models for frames, batch in works]


def capped(models, size: int) -> list[list[Case]]:
  """The group of the capped case, if its model is asked for."""
  return [[Case(**CAPPED, size=size)]] if CAPPED['model'] in models else []
