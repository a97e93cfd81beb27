"""One split to its metrics: masked sums, added on the host."""

from collections.abc import Callable, Iterable
from typing import Any

from jax.sharding import Mesh

from lst import data, metrics, sharding


def evaluate(
    eval_step: Callable,
    params: Any,
    frozen: Any,
    batches: Iterable[data.Batch],
    mesh: Mesh,
) -> metrics.Sums:
  """The sums over all examples of one pass.

  Args:
    eval_step: jitted (params, frozen, batch) -> `metrics.Sums`.
    params: what was trained.
    frozen: weights of the backbone, or the norm of cached features.
    batches: at least one, padded and masked.
    mesh: devices to use.

  Returns:
    Sums on the host in double precision; `count` is the size of the split.
  """
  total, last = metrics.Sums(), None
  for batch in batches:
    current = eval_step(params, frozen, sharding.put_batch(batch, mesh))
    # Read one batch late, so that the device never waits for the host.
    if last is not None:
      total += last.on_host()
    last = current
  return total + last.on_host()
