"""The one schema of every option: its default and its meaning, locked.

A config file starts from `default()`, changes what it needs and returns it;
see `configs/`. A field that is not in `lst/options/` or below cannot be set.
"""

import re
from typing import Any

from ml_collections import ConfigDict

from lst.options import inputs, methods, training
from lst.options.inputs import data

__all__ = ['check', 'data', 'default', 'flat', 'order_seed']

# What else is in the folder of a run of several tasks.
_TAKEN = ('checkpoints', 'tensorboard')


def default() -> ConfigDict:
  """Every option with its default, locked.

  Numbers of epochs may be fractions. '' means none, unless said otherwise.
  """
  config = ConfigDict()
  # Of the initial parameters and of the order of the data.
  config.seed = 0
  # What is trained: a key of `lst.method.METHODS`.
  config.method = 'side'
  # GiB of each device that a step may take, such as '14.5'; auto (what the
  # device says it has; where it says nothing, as CPUs, nothing is changed) or
  # off. Micro-batches and the form of taps are chosen to fit, the banner says
  # which and why; see `lst.plan.fitting`.
  config.memory = 'auto'
  config.data = data()
  # Several tasks in place of `data`, trained in one pass of the backbone:
  # config.tasks.digits = data(), a whole data config under each name.
  config.tasks = ConfigDict()
  config.backbone = inputs.backbone()
  config.cache = inputs.cache()
  config.side = methods.side()
  config.tuning = methods.tuning()
  config.placement = methods.placement()
  config.search = methods.search()
  config.optimizer = training.optimizer()
  config.train = training.train()
  config.mesh = training.mesh()
  # (first, last) step of a trace for xprof in workdir/profile.
  config.profile = ConfigDict({'steps': ()})
  config.sweep = training.sweep()
  config.lock()
  config.tasks.unlock()
  return config


def flat(config: ConfigDict, prefix: str = '') -> dict[str, Any]:
  """{'optimizer.lr': 0.001, ...} of a config."""
  out = {}
  for name in sorted(config):
    value = config[name]
    if isinstance(value, ConfigDict):
      out.update(flat(value, f'{prefix}{name}.'))
    else:
      out[prefix + name] = value
  return out


def order_seed(config: ConfigDict) -> int:
  """The seed of the order of the training examples."""
  return config.seed if config.data.seed < 0 else config.data.seed


def check(config: ConfigDict) -> None:
  """Raises ValueError unless `config` has the fields of `default()`, no other.
  """
  known = flat(default())
  for name in config.tasks:
    _check_task(name, config.tasks[name])
    known |= {f'tasks.{name}.{field}': value for field, value in flat(
        data()).items()}
  there = flat(config)
  wrong = sorted(known.keys() ^ there.keys())
  if wrong:
    start = 'data' if wrong[0].startswith('tasks.') else 'default'
    raise ValueError(
        f'the config {"lacks" if wrong[0] in known else "has an unknown field"}'
        f' {wrong[0]}: start from lst.config.{start}() and only change values')


def _check_task(name: str, value: Any) -> None:
  """Raises ValueError unless a task is a data config under a folder's name."""
  if not isinstance(value, ConfigDict):
    raise ValueError(
        f'config.tasks.{name}={value!r} is no data config: write '
        f'config.tasks.{name} = lst.config.data(), then change its fields')
  if not re.fullmatch(r'\w[\w-]*', name) or name in _TAKEN:
    raise ValueError(
        f'config.tasks has {name!r}, which cannot be a folder of its own in '
        'that of the run: use letters, digits, _ and -, and none of '
        f'{", ".join(_TAKEN)}')
