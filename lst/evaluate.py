"""One split to its metrics: masked sums, added on the host."""

from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from lst import data, metrics, sharding


def evaluate(
    eval_step: Callable,
    params: Any,
    frozen: Any,
    split: data.Split,
    mesh: Mesh,
    **batches,
) -> metrics.Sums:
  """The sums over all examples of `split`.

  Args:
    eval_step: jitted (params, frozen, batch) -> `metrics.Sums`.
    params: what was trained.
    frozen: weights of the backbone.
    split: the examples.
    mesh: devices to use.
    **batches: of `data.eval_batches`: batch_size, image_size, ...

  Returns:
    Sums on the host in double precision; `count` is the size of the split.
  """
  total, last = metrics.Sums(), None
  for batch in data.eval_batches(split, **batches):
    current = eval_step(params, frozen, sharding.put_batch(batch, mesh))
    # Read one batch late, so that the device never waits for the host.
    if last is not None:
      total += last.on_host()
    last = current
  return total + last.on_host()
