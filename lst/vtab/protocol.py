"""The protocol: which run chooses, which runs are tested. Pure configs."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from lst import config as config_lib
from lst.sweep import points
from lst.vtab.task import Task

# Of the runs that are tested, unless `config.sweep.seed` names others.
SEEDS = (0, 1, 2)
# Fields that a suite's config always names.
KEPT = 'side.'
# Of `config.sweep`: what only runs that share a frozen pass have.
OF_SIDE = ('rank', 'alpha', 'skip', 'halving', 'chunk')


def check(config: ConfigDict) -> None:
  """Raises ValueError where `config.sweep` asks for what would change nothing.
  """
  for field in OF_SIDE if config.method != 'side' else ():
    if config.sweep[field]:
      raise ValueError(
          f'config.sweep.{field}={config.sweep[field]!r} is of '
          f"config.method='side', whose runs share a frozen pass: those of "
          f'config.method={config.method!r} are tuned one by one, over '
          'config.sweep.lr and config.sweep.weight_decay. Leave it out; what '
          'else the method has is in config.tuning and config.placement')


def seeds(config: ConfigDict) -> tuple[int, ...]:
  """The seeds of the runs that are tested."""
  return tuple(config.sweep.seed) or SEEDS


def tuning(config: ConfigDict, task: Task) -> ConfigDict:
  """The sweep that settings are chosen by: 800 images, 200 to validate.

  There is no test split in it. A run is judged at its end, as it is tested
  later; with halving also at each rung.
  """
  out = _of_task(config, task, task.splits.train, task.splits.val, '')
  out.sweep.seed = ()
  if not config.sweep.halving:
    out.train.eval_epochs = out.train.epochs
  return out


def tested(
    config: ConfigDict, task: Task, chosen: Mapping[str, Any], seed: int
) -> ConfigDict:
  """The ordinary run of one seed: 1,000 images to its end, then one test.

  Args:
    config: as it was given.
    task: of a suite.
    chosen: values of the fields that were tuned, by `points.FIELDS`' paths.
    seed: of the initial parameters and the order of the data.
  """
  out = _of_task(config, task, task.splits.both, '', task.splits.test)
  out.sweep = config_lib.default().sweep
  out.seed = seed
  # No validation: a checkpoint at the end is enough.
  out.train.eval_epochs = out.train.epochs
  out.update_from_flattened_dict(dict(chosen))
  return out


def _of_task(config, task: Task, train: str, val: str, test: str) -> ConfigDict:
  out = points.copy(config)
  out.data.update(task.data | dict(train=train, val=val, test=test))
  return out


def grid(config: ConfigDict) -> list[str]:
  """The fields of `config.sweep` that are tuned."""
  return [field for field in points.varied(config) if field != 'seed']


def edges(config: ConfigDict, chosen: Mapping[str, Any]) -> list[str]:
  """The tuned fields whose choice is the first or last value of the grid.

  Such a method may be under-tuned: a better value may lie beyond.
  """
  out = []
  for field in grid(config):
    values = sorted(config.sweep[field])
    if len(values) > 1 and chosen[points.FIELDS[field]] in (
        values[0], values[-1]):
      out.append(field)
  return out


def as_file(config: ConfigDict, suite: str) -> str:
  """A config file that gives `config`: every field that is not the default.

  And those of `KEPT`, so that it means the same when a default is another one.
  """
  default = config_lib.flat(config_lib.default())
  changed = {
      name: value for name, value in config_lib.flat(config).items()
      if value != default[name] or name.startswith(KEPT)}
  lines = ''.join(f'      {n!r}: {v!r},\n' for n, v in changed.items())
  return f'''"""The config of a suite: what differs from the defaults.

    python -m lst.vtab run --config=FILE --suite={suite}
"""

from lst.config import default


def get_config():
  config = default()
  config.update_from_flattened_dict({{
{lines}  }})
  return config
'''
