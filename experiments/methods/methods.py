"""Every method: its part of a config, and what is tried to tune it."""

from typing import Any, NamedTuple

# Of Adam; a method starts with three of them, around the middle of its own.
RATES = (
    1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
DECAYS = (1e-4, 1e-2)


# Options that change what a step costs; scales and smoothing do not.
SIZES = ('side.rank', 'side.heads', 'side.reduction', 'tuning.vpt.tokens')


class Entry(NamedTuple):
  """A method of the comparison.

  Attributes:
    fields: {field of the config: value} that make it.
    rate: the middle of its first learning rates.
    option: (field, two values) of its scale, rank or number of tokens, the
      first being its default; of label smoothing, where it has none of these.
  """

  fields: dict[str, Any]
  rate: float
  option: tuple[str, tuple] = ('optimizer.label_smoothing', (0.0, 0.1))


def _side(name: str, **fields) -> dict:
  return {'method': 'side', 'side.name': name} | {
      f'side.{field}': value for field, value in fields.items()}


def _lora(targets: str) -> Entry:
  return Entry(
      {'method': 'lora', 'tuning.lora.targets': targets},
      3e-3, ('tuning.lora.scale', (1.0, 4.0)))


METHODS = {
    'linear': Entry(_side('linear'), 3e-3),
    'attentive': Entry(_side('attentive'), 1e-3, ('side.heads', (12, 3))),
    'losa': Entry(_side('losa'), 3e-3, ('side.rank', (8, 16))),
    'losa_running': Entry(
        _side('losa', residual='running'), 3e-3, ('side.rank', (8, 16))),
    'losa_figure': Entry(
        _side('losa', residual='figure'), 3e-3, ('side.rank', (8, 16))),
    'lst': Entry(_side('lst'), 3e-3, ('side.reduction', (8, 4))),
    'last': Entry(_side('last'), 3e-3, ('side.rank', (8, 16))),
    'full': Entry({'method': 'full'}, 3e-4),
    'bitfit': Entry({'method': 'bitfit'}, 3e-3),
    'vpt': Entry({'method': 'vpt'}, 1e-2, ('tuning.vpt.tokens', (10, 50))),
    'lora_qv': _lora('qv'),
    'lora_all': _lora('all'),
    'adaptformer': Entry(
        {'method': 'adaptformer'}, 3e-3,
        ('tuning.adaptformer.scale', (0.1, 1.0))),
    'parallel': Entry(
        {'method': 'parallel'}, 3e-3, ('tuning.parallel.scale', (1.0, 0.1))),
    'sequential': Entry(
        {'method': 'sequential'}, 3e-3,
        ('tuning.sequential.scale', (1.0, 0.1))),
    'ssf': Entry({'method': 'ssf'}, 3e-3),
    'placed': Entry(
        {'method': 'placed'}, 3e-3, ('placement.alpha', (1.0, 0.1))),
}


def sizes(entry: Entry) -> tuple:
  """The values of its option that cost differently; '' stands for all."""
  field, values = entry.option
  return values if field in SIZES else ('',)


def backpropagates(entry: Entry) -> bool:
  """Whether a gradient goes through the backbone."""
  return entry.fields['method'] != 'side'


class Point(NamedTuple):
  """One setting of a method."""

  lr: float
  weight_decay: float
  option: Any


def first(entry: Entry) -> list[Point]:
  """What is tried first: three rates, all else at its default."""
  middle = RATES.index(entry.rate)
  return [Point(lr, DECAYS[0], entry.option[1][0])
          for lr in RATES[middle - 1:middle + 2]]


def rates(entry: Entry, tried: dict[Point, float]) -> list[Point]:
  """The rates to try next, all else at its default; none, if that is done.

  Three at first; then the best of them has to have been tried beside both its
  neighbours.
  """
  left = [point for point in first(entry) if point not in tried]
  if left:
    return left
  found = best(_of_rates(tried))
  beside = [found._replace(lr=RATES[k]) for k in _beside(found)]
  return [point for point in beside if point not in tried]


def following(entry: Entry, tried: dict[Point, float]) -> Point | None:
  """What to try after the points so far, or None if the search is done.

  The same rule for every method: the `rates`; then the other decay at the best
  rate; then the other value of the option at the better decay.

  Args:
    entry: the method.
    tried: {point: accuracy on validation} so far; of equals the first counts.
  """
  if left := rates(entry, tried):
    return left[0]
  found = best(_of_rates(tried))
  left = [found._replace(weight_decay=decay) for decay in DECAYS]
  if all(point in tried for point in left):
    found = best({point: accuracy for point, accuracy in tried.items()
                  if point.option == entry.option[1][0]})
    left = [found._replace(option=value) for value in entry.option[1]]
  return next((point for point in left if point not in tried), None)


def _of_rates(tried: dict[Point, float]) -> dict[Point, float]:
  """What differs from the first point in its rate alone."""
  start = next(iter(tried))
  return {point: accuracy for point, accuracy in tried.items()
          if point._replace(lr=start.lr) == start}


def _beside(point: Point) -> list[int]:
  k = RATES.index(point.lr)
  return [n for n in (k - 1, k + 1) if 0 <= n < len(RATES)]


def best(tried: dict[Point, float]) -> Point:
  """The point with the highest accuracy, the first of equals."""
  return max(tried, key=lambda point: tried[point])


def under_tuned(tried: dict[Point, float]) -> bool:
  """Whether a rate beside the best one was not tried, or is none."""
  rates = _of_rates(tried)
  found = best(rates)
  beside = _beside(found)
  return len(beside) < 2 or not all(
      found._replace(lr=RATES[k]) in rates for k in beside)
