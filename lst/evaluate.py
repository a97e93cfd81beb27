"""One split to its metrics: masked sums, added on the host."""

from collections.abc import Callable
from typing import Any

from lst import inputs, metrics, sharding


def evaluate(params: Any, of: inputs.Pass) -> metrics.Sums:
  """The sums over all examples of one pass.

  Args:
    params: what was trained.
    of: the pass.

  Returns:
    Sums on the host in double precision; `count` is the size of the split.
  """
  return scored(of.reader.eval_step, params, of)


def scored(step: Callable, params: Any, of: inputs.Pass) -> metrics.Sums:
  """The sums that `step(params, frozen, batch)` gives over a pass."""
  total, last = metrics.Sums(), None
  for batch in of.batches():
    placed = sharding.put_batch(batch, of.reader.mesh)
    current = step(params, of.reader.frozen, of.ready(placed))
    # Read one batch late, so that the device never waits for the host.
    if last is not None:
      total += last.on_host()
    last = current
  return total + last.on_host()
