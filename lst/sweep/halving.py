"""Successive halving: which steps are rungs, and how many runs go on."""

import math
from collections.abc import Iterable

import numpy as np


def rungs(
    count: int, halving: int, steps: int, stops: Iterable[int]
) -> dict[int, int]:
  """The runs that go on after each rung.

  With R rungs, the runs are told apart after 1 / halving^R of the steps, then
  after halving times as many, and so on (Jamieson and Talwalkar, 2016); each
  rung is moved to the next step that validates.

  Args:
    count: runs at the start.
    halving: 1 / halving of the runs go on; 0 = all, to the end.
    steps: of the whole sweep.
    stops: the steps that validate.

  Returns:
    {step: runs that go on}.

  >>> rungs(9, 3, 90, range(10, 91, 10))
  {10: 3, 30: 1}
  """
  if not halving:
    return {}
  if halving < 2:
    raise ValueError(
        f'config.sweep.halving={halving} has to be 0 (off) or 2 or more')
  stops, out = sorted(stops), {}
  number = math.ceil(round(math.log(count, halving), 9))
  for left in range(number, 0, -1):
    due = steps / halving**left
    stop = next(s for s in stops if s >= due)
    count = math.ceil(count / halving)
    if stop < steps:
      out[stop] = count
  return out


def best(accuracy, count: int) -> np.ndarray:
  """Rows of the `count` highest accuracies, of equals the first, in order."""
  order = np.argsort(-np.asarray(accuracy), kind='stable')
  return np.sort(order[:count])
