"""A step that fits a budget of memory: `config.memory`."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from lst import data, hosts, sharding
from lst import method as methods
from lst.plan import programs
from lst.plan.chips import GIB
from lst.plan.table import changed

# Tokens on a device from which on products are as fast as they get: below, a
# micro-batch of half the size takes as long. Ours to assume.
FULL = 1024
UNASKED = ('auto', 'off')


class Choice(NamedTuple):
  """A way to take a step; its gradients are those of all others.

  Attributes:
    changes: of the config, by field.
    micro: examples that go through at a time.
    time: beside the step of the config as it is, an estimate.
  """

  changes: dict[str, Any]
  micro: int
  time: float


def fit(config) -> tuple[Any, str]:
  """The config of a run with a form of its step that fits `config.memory`.

  Returns:
    (the config, what was chosen and why: '' if nothing was to be chosen).

  Raises:
    ValueError: `config.memory` is no amount, or less than any form takes.
  """
  if not budget(config.memory):
    return config, ''
  dataset = data.build(config.data)
  return fitted(
      config, jax.devices(), len(dataset.classes), dataset.frames)


def fitted(
    config, found: list, classes: int, frames: int) -> tuple[Any, str]:
  """`fit` on these devices, which need not be there.

  Tried by ahead-of-time compilation, in the order of the time they are
  estimated to take: the config as it is, micro-batches, then no tap kept (two
  passes, `config.side.keep`; not beside a cache that is asked for), or of
  methods that back-propagate rematerialised blocks. Every one has the gradients
  of the whole batch; 8-bit taps have not, and are taken only if asked for.

  Args:
    config: of a run.
    found: the devices.
    classes: of the classifier.
    frames: of a clip; 0 for images.
  """
  limit = budget(config.memory)
  if not limit:
    return config, ''
  choice, total, smallest = first_fit(
      choices(config, found, classes, frames), lambda choice: programs.memory(
          changed(config, choice.changes), classes, found, frames), limit)
  if choice is None:
    raise ValueError(
        f'config.memory={config.memory}: no form of this step fits into '
        f'{limit / GIB:.2f} GiB of each device; {smallest}')
  made = changed(config, choice.changes)
  # Without a gradient an example takes no more memory than in a step.
  rows = _evaluated(config, int(choice.micro * limit / total), found, frames)
  said = _told(config, choice)
  if rows < config.train.eval_batch_size:
    made.train.eval_batch_size = rows
    said += f'; {rows} are evaluated at a time'
  return made, f'{total / GIB:.2f} of {limit / GIB:.2f} GiB a device: {said}'


def _evaluated(config, most: int, found: list, frames: int) -> int:
  """Examples to evaluate at a time, up to as many."""
  video = config.data.video
  views = video.test_clips * video.test_crops if frames else 1
  devices = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, found).size
  least = math.lcm(views, devices)
  return min(config.train.eval_batch_size, max(most // least, 1) * least)


def refuse(config, what: str) -> None:
  """Raises ValueError where a budget is given to what does not keep to it."""
  if config.memory not in UNASKED:
    raise ValueError(
        f"config.memory={config.memory} is of a single run: {what} does not "
        "keep to it; set it to 'auto'")


def budget(memory: str) -> float:
  """Bytes of each device; 0 where none is known or asked for."""
  if memory == 'off':
    return 0.0
  if memory == 'auto':
    stats = [d.memory_stats() or {} for d in jax.local_devices()]
    limit = min(s.get('bytes_limit', 0) for s in stats)
    return float(hosts.least(limit)) if limit else 0.0
  try:
    gib = float(memory)
  except ValueError:
    gib = 0.0
  if not 0 < gib < math.inf:
    raise ValueError(
        f'config.memory={memory!r} is no amount: write auto, off, or how many '
        'GiB of each device a step may take, such as 14.5')
  return gib * GIB


def choices(config, found: list, classes: int, frames: int) -> list[Choice]:
  """Every form of a step, in the order of the time it is estimated to take."""
  backbone = programs.shaped(config, frames)
  devices = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, found).size
  tokens = backbone.tokens * (backbone.times or 1)
  most = config.train.microbatch or config.train.batch_size

  def slower(micro: int) -> float:
    return max(FULL / (tokens * micro / devices), 1.0)

  out = [
      Choice(
          changes | ({'train.microbatch': micro} if micro < most else {}),
          micro, factor * slower(micro) / slower(most))
      for factor, changes in _forms(config, backbone, classes)
      for micro in _halved(most, devices)
      # Blocks on disk make the taps of a whole batch, whatever goes through.
      if micro == most or config.backbone.blocks != 'disk']
  return sorted(out, key=lambda choice: choice.time)


def _forms(config, backbone, classes) -> Iterator[tuple[float, dict]]:
  """(time, changes) of each form; that of the config first."""
  yield 1.0, {}
  if config.method != 'side':
    if config.method != 'placed' and not config.tuning.remat:
      yield 4 / 3, {'tuning.remat': True}
    return
  if config.side.taps or config.cache.mode in ('disk', 'ram') or (
      config.backbone.blocks == 'disk'):
    return
  other = changed(config, {'side.keep': 'none'})
  if config.side.keep == 'exact' and methods.build(
      other, backbone, classes).extract is None:
    yield 2.0, {'side.keep': 'none'}


def _halved(most: int, devices: int) -> Iterator[int]:
  while True:
    yield most
    if most % 2 or (most // 2) % devices:
      return
    most //= 2


def first_fit(
    tried: list[Choice], sizes: Callable[[Choice], Any], budget: float
) -> tuple[Choice | None, float, str]:
  """(the first that fits, its bytes, else what the smallest takes).

  Args:
    tried: in order.
    sizes: (choice) -> (`programs.Sizes` or None, what the compiler said).
    budget: in bytes.
  """
  seen, skipped, least = {}, {}, None

  def in_turn():
    yield from tried
    # The smallest of each form: to be told, and it may fit after all.
    yield from [*skipped.values()]

  for choice in in_turn():
    form = str({**choice.changes, 'train.microbatch': 0})
    # As if all but the weights grew with the micro-batch: at the least.
    if skipped.get(form) != choice and (
        form in seen and seen[form](choice.micro) > budget):
      skipped[form] = choice
      continue
    made, refused = sizes(choice)
    if made is None:
      least = least or refused
      continue
    if made.total <= budget:
      return choice, float(made.total), ''
    fixed = made.weights + made.trained + made.optimizer
    each = (made.total - fixed) / choice.micro
    # A batch as a whole is other programs, with features between them.
    if 'train.microbatch' in choice.changes:
      seen[form] = lambda micro, fixed=fixed, each=each: fixed + each * micro
    if least is None or isinstance(least, str) or made.total < least[0]:
      least = made.total, choice
  return None, 0.0, _smallest(least)


def _smallest(least) -> str:
  if isinstance(least, tuple):
    total, choice = least
    return (f'the smallest that was compiled, micro-batches of {choice.micro} '
            f'with {_named(choice)}, takes {total / GIB:.2f}')
  return f'the compiler says: {least}'


def _named(choice: Choice) -> str:
  named = [f'config.{name}={value}' for name, value in choice.changes.items()
           if name != 'train.microbatch']
  return ', '.join(named) or 'all else as it is'


def _told(config, choice: Choice) -> str:
  if not choice.changes:
    return 'the config as it is'
  parts = []
  if 'train.microbatch' in choice.changes:
    parts.append(
        f'micro-batches of {choice.micro}, as all '
        f'{config.train.batch_size} do not fit')
  if 'side.keep' in choice.changes:
    parts.append(
        'no tap kept but two passes, as taps of less do not fit (8-bit ones '
        'may: config.side.keep=int8)')
  if 'tuning.remat' in choice.changes:
    parts.append('blocks rematerialised')
  return ', '.join(parts)
