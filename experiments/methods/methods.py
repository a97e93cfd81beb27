"""Every method: its part of a config, and the same number of points to tune."""

from typing import NamedTuple

# Of Adam; each method tries the five around the middle of its own.
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DECAYS = (1e-4, 1e-2)


class Entry(NamedTuple):
  """A method of the comparison.

  Attributes:
    fields: {field of the config: value} that make it.
    rate: the middle of its learning rates.
    options: (field, two values) of its scale, rank or number of tokens; or
      None, where it has none: then label smoothing takes that place.
  """

  fields: dict
  rate: float
  options: tuple[str, tuple] | None = None


def _side(name: str, **fields) -> dict:
  return {'method': 'side', 'side.name': name} | {
      f'side.{field}': value for field, value in fields.items()}


def _lora(targets: str) -> Entry:
  # With rematerialised blocks: the rival in memory.
  return Entry(
      {'method': 'lora', 'tuning.lora.targets': targets, 'tuning.remat': True},
      3e-3, ('tuning.lora.scale', (1.0, 4.0)))


METHODS = {
    'linear': Entry(_side('linear'), 1e-2),
    'attentive': Entry(_side('attentive'), 1e-3, ('side.heads', (3, 12))),
    'losa': Entry(_side('losa'), 3e-3, ('side.rank', (8, 16))),
    'losa_figure': Entry(
        _side('losa', residual='figure'), 3e-3, ('side.rank', (8, 16))),
    'lst': Entry(_side('lst'), 3e-3, ('side.reduction', (4, 8))),
    'last': Entry(_side('last'), 3e-3, ('side.rank', (8, 16))),
    'full': Entry({'method': 'full'}, 1e-4),
    'bitfit': Entry({'method': 'bitfit'}, 3e-3),
    'vpt': Entry({'method': 'vpt'}, 1e-2, ('tuning.vpt.tokens', (10, 50))),
    'lora_qv': _lora('qv'),
    'lora_all': _lora('all'),
    'adaptformer': Entry(
        {'method': 'adaptformer'}, 3e-3,
        ('tuning.adaptformer.scale', (0.1, 1.0))),
    'parallel': Entry(
        {'method': 'parallel'}, 1e-3, ('tuning.parallel.scale', (0.1, 1.0))),
    'sequential': Entry(
        {'method': 'sequential'}, 1e-3,
        ('tuning.sequential.scale', (0.1, 1.0))),
    'ssf': Entry({'method': 'ssf'}, 3e-3),
    'placed': Entry(
        {'method': 'placed'}, 1e-3, ('placement.alpha', (0.1, 1.0))),
}


def points(entry: Entry, rates: int = 5) -> list[dict]:
  """What is tried of a method on validation: 4 points for each rate, for all.

  >>> len(points(METHODS['full'])), len(points(METHODS['lora_qv']))
  (20, 20)
  """
  middle = RATES.index(entry.rate)
  first = min(max(middle - rates // 2, 0), len(RATES) - rates)
  field, values = entry.options or ('optimizer.label_smoothing', (0.0, 0.1))
  return [
      entry.fields | {
          'optimizer.lr': rate, 'optimizer.weight_decay': decay, field: value}
      for rate in RATES[first:first + rates] for decay in DECAYS
      for value in values]


def at_the_edge(chosen: dict, entry: Entry, rates: int = 5) -> bool:
  """Whether the best rate is the first or the last of those tried."""
  tried = [point['optimizer.lr'] for point in points(entry, rates)]
  return rates > 1 and chosen['optimizer.lr'] in (min(tried), max(tried))
