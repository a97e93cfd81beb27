"""Chip-hours of a run, and what they cost at a price that is given."""

import math
from typing import Any, NamedTuple

from lst.plan.chips import Chip
from lst.plan.programs import Plan

# Of the peak of a chip that large products reach; ours to assume.
REACHED = 0.5
FIELDS = ('steps', 'chip_hours', 'kept_chip_hours', 'cost', 'kept_cost')


class Bill(NamedTuple):
  """What a run is charged by.

  Attributes:
    examples: of the training data.
    price: of one chip for an hour, in any currency; 0 = not known.
  """

  examples: int
  price: float


def seconds(made: Plan, chip: Chip) -> float:
  """Of a step, an estimate: products at `REACHED` of the peak, or else the
  slowest of reading the weights from memory and bringing those streamed from
  the host, once for every pass.
  """
  passes = max(round(made.flops / made.forward_flops), 1)
  return max(
      made.flops / (REACHED * chip.flops), passes * _weights(made, chip))


def _weights(made: Plan, chip: Chip) -> float:
  if not made.sizes:
    return 0.0
  return max(made.sizes.weights / chip.bandwidth,
             made.sizes.streamed / chip.link)


def kept_seconds(made: Plan, chip: Chip) -> tuple[float, float]:
  """Of a batch with features that are kept: of making them, and of a step.

  A step then reads them from the host, in place of the backbone's pass.
  """
  making = max(
      made.forward_flops / (REACHED * chip.flops), _weights(made, chip))
  # Taps are counted with those of the next batch.
  taps = made.sizes.taps / 2 if made.sizes else 0
  side = (made.flops - made.forward_flops) / (REACHED * chip.flops)
  return making, max(side, taps / chip.link)


def of(
    made: Plan, config, chip: Chip, chips: int, bill: Bill
) -> dict[str, Any]:
  """`FIELDS` of a run: with the backbone in every step, and with a cache.

  Validation, compiling and the wait for machines are no part of it.
  """
  batch = config.train.batch_size
  steps = math.ceil(config.train.epochs * bill.examples / batch)
  hours = steps * seconds(made, chip) * chips / 3600
  out = dict.fromkeys(FIELDS, '') | {
      'steps': steps, 'chip_hours': _round(hours)}
  kept = None
  cached = config.method == 'side' and config.side.keep == 'exact'
  if cached and not config.train.microbatch:
    making, step = kept_seconds(made, chip)
    passes = math.ceil(bill.examples * config.data.views / batch)
    kept = (passes * making + steps * step) * chips / 3600
    out['kept_chip_hours'] = _round(kept)
  if bill.price:
    out['cost'] = round(bill.price * hours, 2)
    if kept is not None:
      out['kept_cost'] = round(bill.price * kept, 2)
  return out


def _round(x: float) -> float:
  return float(f'{x:.3g}')
