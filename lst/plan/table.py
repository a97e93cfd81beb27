"""The table of a plan: a row for a config and for each of its rivals."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from lst import method as methods
from lst.plan import cost, programs
from lst.plan.chips import Chip
from lst.plan.programs import Sizes

MIB = 2**20
FIELDS = (
    'method', 'fits', 'total_mib', *(f'{k}_mib' for k in Sizes._fields),
    'step_tflops', 'step_over_forward', 'step_ms', 'largest_microbatch',
    'compile_s', *cost.FIELDS, 'note')

# What each rival changes of a config; those whose method is not there, and
# that of the config itself, are left out.
RIVALS: dict[str, dict[str, Any]] = {
    'losa + int8 taps': {'side.name': 'losa', 'side.keep': 'int8'},
    'losa + no taps': {'side.name': 'losa', 'side.keep': 'none'},
    'linear': {'side.name': 'linear'},
    # As many heads as divide the width of every preset but two.
    'attentive': {'side.name': 'attentive', 'side.heads': 16},
    'lst': {'side.name': 'lst'},
    'side4video': {'side.name': 'side4video'},
    'st_adapter': {'method': 'st_adapter', 'side.pool': 'patches'},
    'st_adapter + remat': {
        'method': 'st_adapter', 'side.pool': 'patches', 'tuning.remat': True},
    'lora': {'method': 'lora'},
    'lora + remat': {'method': 'lora', 'tuning.remat': True},
    'full': {'method': 'full'},
    'full + remat': {'method': 'full', 'tuning.remat': True},
}
OF_CLIPS = ('side4video', 'st_adapter', 'st_adapter + remat')


def rows(
    config, classes: int, chip: Chip, found: list, rivals: bool,
    bill: cost.Bill | None = None, only: Sequence[str] = ()) -> Iterator[dict]:
  """A row (`FIELDS`) for the config, then one for each rival.

  Args:
    config: as a run has it.
    classes: of the classifier.
    chip, found: of `chips.devices`.
    rivals: whether there are any.
    bill: what the run is charged by.
    only: names of rivals; () = all that read what the config reads.
  """
  name = config.side.name if config.method == 'side' else config.method
  yield row(name, config, classes, chip, found, bill)
  frames = programs.frames_of(config)
  for rival in only or RIVALS if rivals else ():
    if rival not in RIVALS:
      raise ValueError(
          f'--only={rival}: the rivals are {", ".join(RIVALS)}')
    changes = {'method': 'side', 'side.keep': 'exact', **RIVALS[rival]}
    other = changed(config, changes)
    if rival == name or other is None or (
        rival in OF_CLIPS and not frames):
      continue
    # Of a backbone of tubelets there are no frames by themselves.
    if other.method not in methods.BY_FRAME or not programs.shaped(
        config, frames).tubelet:
      yield row(rival, other, classes, chip, found, bill)


def changed(config, changes: dict[str, Any]):
  """A copy with fields changed, or None if one of them is not to be had."""
  other = copy.deepcopy(config)
  for field, value in changes.items():
    group, _, leaf = field.rpartition('.')
    part = other[group] if group else other
    if leaf not in part or (field == 'method' and value not in methods.METHODS):
      return None
    part[leaf] = value
  if other.method != 'side':
    # A gradient goes through the blocks: none in 8 bits, none from a host.
    other.backbone.quantise, other.backbone.blocks = 'none', 'loop'
  return other


def row(
    name: str, config, classes: int, chip: Chip, found: list,
    bill: cost.Bill | None = None) -> dict:
  """One row, of a plan that is made here."""
  return of_plan(
      name, programs.plan(config, classes, found), config, chip, len(found),
      bill)


def of_plan(
    name: str, made: programs.Plan, config, chip: Chip, count: int,
    bill: cost.Bill | None = None) -> dict:
  """The row of a plan for `count` devices."""
  out = dict.fromkeys(FIELDS, '')
  out |= {
      'method': name, 'fits': False, 'note': made.refused,
      'step_tflops': round(made.flops / 1e12, 3),
      'step_over_forward': round(made.flops / made.forward_flops, 3),
      'step_ms': round(1e3 * cost.seconds(made, chip), 1),
      'compile_s': round(made.seconds)}
  if made.sizes:
    sizes = made.sizes
    out |= {f'{k}_mib': round(v / MIB, 1) for k, v in sizes._asdict().items()}
    out |= {
        'total_mib': round(sizes.total / MIB, 1),
        'fits': sizes.total <= chip.memory,
        'largest_microbatch': largest(sizes, config, chip, count)}
    if bill:
      out |= cost.of(made, config, chip, count, bill)
  return out


def largest(sizes: Sizes, config, chip: Chip, count: int) -> int:
  """Examples of a micro-batch that fit on all devices, at the least.

  As if everything but the weights and the state grew with it; what does not
  leaves room for more.
  """
  fixed = sizes.weights + sizes.trained + sizes.optimizer
  micro = config.train.microbatch or config.train.batch_size
  each = (sizes.total - fixed) / (micro / count)
  return max(int((chip.memory - fixed) / each), 0) * count


def show(found: list[dict], chip: Chip, topology: str, config) -> str:
  """The table as text, with what it assumes."""
  names = ('method', 'total_mib', 'weights_mib', 'trained_mib',
           'optimizer_mib', 'taps_mib', 'work_mib', 'streamed_mib',
           'step_tflops', 'step_ms', 'largest_microbatch', 'fits')
  # Of a run, where its examples are known; the cost, where the price is.
  names += tuple(
      k for k in cost.FIELDS if any(r[k] != '' for r in found))
  cells = [names, *([str(r[k]) for k in names] for r in found)]
  widths = [max(len(line[k]) for line in cells) for k in range(len(names))]
  lines = ['  '.join(c.rjust(w) for c, w in zip(line, widths, strict=True))
           for line in cells]
  lines += [f'{r["method"]}: {r["note"]}' for r in found if r['note']]
  frames = programs.frames_of(config)
  clips = f' clips of {frames} frames' * bool(frames)
  return '\n'.join([
      f'{topology}, {config.backbone.weights}, batches of '
      f'{config.train.batch_size}{clips}, jax {jax.__version__}; per device, '
      f'of {chip.memory / MIB:,.0f} MiB', *lines,
      f'step_ms assumes {cost.REACHED:.0%} of {chip.flops / 1e12:,.0f} '
      f'TFLOP/s, weights at {chip.bandwidth / 1e9:,.0f} GB/s and from the host '
      f'at {chip.link / 1e9:,.0f} GB/s; largest_microbatch is what fits at the '
      'least. On GPUs attention is planned without its flash kernel',
      *_explained(found)])


def _explained(found: list[dict]) -> list[str]:
  if found[0]['steps'] == '':
    return []
  return ['chip_hours are those of the steps of training; kept_..., with '
          'features that are made once and kept (config.cache). Validation, '
          'compiling and the wait for machines come on top']
