"""When a run stops to validate."""

import math


def evaluation_steps(
    config, steps: int, steps_per_epoch: float
) -> frozenset[int]:
  """The steps after which to validate: every `eval_epochs`, and the last."""
  every = config.train.eval_epochs
  count = math.floor(steps / (every * steps_per_epoch))
  inner = (math.ceil(k * every * steps_per_epoch) for k in range(1, count + 1))
  return frozenset([*(s for s in inner if s < steps), steps])
