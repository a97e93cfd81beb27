"""The points of a sweep: one whole config each."""

import itertools

from ml_collections import ConfigDict

from lst import config as config_lib

# What a sweep may vary, and the field of a run that it sets.
FIELDS = {
    'lr': 'optimizer.lr',
    'weight_decay': 'optimizer.weight_decay',
    'rank': 'side.rank',
    'alpha': 'side.alpha',
    'skip': 'side.skip',
    'seed': 'seed',
}
# What their values have to be.
RANGES = {
    'lr': ((int, float), lambda x: x > 0, 'numbers above 0'),
    'weight_decay': ((int, float), lambda x: x >= 0, 'numbers from 0 on'),
    'rank': (int, lambda x: x >= 1, 'whole numbers from 1 on'),
    'alpha': ((int, float), lambda x: x == x, 'numbers'),
    'skip': (int, lambda x: x >= 0, 'whole numbers from 0 on'),
    'seed': (int, lambda x: x >= 0, 'whole numbers from 0 on'),
}


def asked(config: ConfigDict) -> bool:
  """Whether `config.sweep` names values to try."""
  return any(config.sweep[field] for field in FIELDS)


def points(config: ConfigDict) -> list[ConfigDict]:
  """The config of every run of the sweep, in the order of `FIELDS`.

  Each is that of an ordinary run, which gives the same alone.

  >>> config = config_lib.default()
  >>> config.sweep.lr, config.sweep.rank = (1e-3, 1e-2), (4, 8)
  >>> [name(point, config) for point in points(config)][:2]
  ['lr=0.001 rank=4', 'lr=0.001 rank=8']
  """
  fields = varied(config)
  for field in fields:
    values, (kind, holds, words) = config.sweep[field], RANGES[field]
    if not all(isinstance(x, kind) and holds(x) for x in values):
      raise ValueError(f'config.sweep.{field}={values} have to be {words}')
    if len(set(values)) < len(values):
      raise ValueError(f'config.sweep.{field}={values} names a value twice')
  out = []
  for values in itertools.product(*(config.sweep[f] for f in fields)):
    point = copy(config)
    point.sweep = config_lib.default().sweep
    # The order of the data is shared; only the initial parameters have a seed.
    point.data.seed = config_lib.order_seed(config)
    with point.unlocked():
      point.update_from_flattened_dict(
          {FIELDS[f]: v for f, v in zip(fields, values, strict=True)})
    out.append(point)
  return out


def copy(config: ConfigDict) -> ConfigDict:
  """A config of its own."""
  return config.copy_and_resolve_references()


def varied(config: ConfigDict) -> list[str]:
  """The fields that `config.sweep` varies."""
  return [f for f in FIELDS if config.sweep[f]]


def value(point: ConfigDict, field: str) -> int | float:
  """What a point has in a field of `FIELDS`."""
  return config_lib.flat(point)[FIELDS[field]]


def name(point: ConfigDict, config: ConfigDict) -> str:
  """'lr=0.001 rank=8': what is particular to a point."""
  return ' '.join(f'{f}={value(point, f):g}' for f in varied(config))
