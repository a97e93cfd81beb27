"""What is measured: the cases, and what a task costs by their steps."""

import math
from typing import NamedTuple

CLASSES = 100
IMAGE_SIZE = 224
BATCH = 64
RANK, LORA_RANK = 16, 8
LR = 1e-3

# A VTAB-1k-sized task, and a tuning of it.
TASK_IMAGES, TASK_EPOCHS = 1000, 100
POINTS = 24

# (framework, method). 'features' is the frozen forward pass alone.
METHODS = (
    ('lst', 'features'),
    ('lst', 'losa'),
    ('lst', 'losa_cached'),
    ('lst', 'losa_sweep'),
    ('lst', 'linear_cached'),
    ('torch', 'features'),
    ('torch', 'lora'),
    ('torch', 'lora_checkpoint'),
    ('torch', 'full'),
    ('torch', 'linear'),
    ('torch', 'linear_cached'),
)
MODELS = {'cpu': ('S/16', 'B/16'), 'gpu': ('S/16', 'B/16', 'L/16')}
DTYPES = ('bfloat16', 'float32')


class Case(NamedTuple):
  """One thing to measure, in a process of its own.

  Attributes:
    device: 'cpu' or 'gpu'.
    framework: 'lst' or 'torch'.
    method: see `METHODS`.
    model: size and patch, as in 'B/16'.
    dtype: 'bfloat16' or 'float32', of the backbone and its products.
    batch: images in a step.
    images: training images a cache holds.
    compiled: whether the peer's model goes through torch.compile.
  """

  device: str
  framework: str
  method: str
  model: str
  dtype: str
  batch: int = BATCH
  images: int = TASK_IMAGES
  compiled: bool = False

  @property
  def name(self) -> str:
    """Framework and method, for people."""
    return f'{self.framework} {self.method}'


class Costs(NamedTuple):
  """Seconds to the end of one task, and of a tuning of it."""

  task_s: float
  tuning_s: float


def plan(device, models, dtypes, only=(), **fields) -> list[list[Case]]:
  """Groups of cases that take turns: one group for each model and dtype."""
  return [
      [Case(device, framework, method, model, dtype, **fields)
       for framework, method in METHODS if not only or method in only]
      for model in models for dtype in dtypes]


def costs(
    method: str, batch: int, step_ms: float, features_ms: float
) -> Costs | None:
  """What a task costs by the step; None for what is no method of training.

  Args:
    method: see `METHODS`.
    batch: images in a step.
    step_ms: of one step; of 'losa_sweep', of all `POINTS` networks together.
    features_ms: of one batch of features of the same framework.
  """
  if method == 'features':
    return None
  once = features_ms * TASK_IMAGES / batch / 1e3
  steps = step_ms * math.ceil(TASK_IMAGES * TASK_EPOCHS / batch) / 1e3
  if method == 'losa_sweep':
    return Costs(math.nan, once + steps)
  if method.endswith('cached'):
    return Costs(once + steps, once + POINTS * steps)
  return Costs(steps, POINTS * steps)
