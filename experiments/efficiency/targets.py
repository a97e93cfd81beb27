"""What was aimed at, held or missed by the rows of results.csv."""

from typing import NamedTuple

from experiments.efficiency.cases import CAPPED

LARGE = ('L/16', 'g/14', 'e/14', 'dinov3_7b/16')
STEP_OVER_FORWARD, FASTER, ACTIVATION, OFF_PLAN = 1.10, 2.2, 0.5, 0.15


class Target(NamedTuple):
  """One target on one case.

  Attributes:
    what: is aimed at.
    where: model and input.
    figure: that was found, or why there is none.
    held: None where nothing was measured.
  """

  what: str
  where: str
  figure: str
  held: bool | None


def check(rows: list[dict]) -> list[Target]:
  """Every target on every case that it speaks of."""
  plain = [row for row in rows if not row['cap_gib']]
  out = []
  for losa in (row for row in plain if row['method'] == 'losa'):
    where = _where(losa)
    if losa['model'] in LARGE:
      out.append(_ratio(
          f'a step takes at most {STEP_OVER_FORWARD} x the forward pass',
          where, losa['step_ms'], losa['forward_ms'],
          lambda x: x <= STEP_OVER_FORWARD))
    rival = next((row for row in plain if row['method'] == 'lora_remat'
                  and _where(row) == where), None)
    if rival:
      out += _against(losa, rival, where)
  out += [_planned(row) for row in plain if row['plan_mib'] not in ('', None)]
  return [*out, _capped(rows)]


def _where(row: dict) -> str:
  frames = f'{row["frames"]} frames' if row['frames'] else 'images'
  return f'{row["model"]}, {row["batch"]} x {frames}, {row["size"]} px'


def _ratio(what, where, above, below, held) -> Target:
  if '' in (above, below):
    return Target(what, where, 'no figure: one of the two did not run', None)
  value = float(above) / float(below)
  return Target(what, where, f'{value:.2f} x', held(value))


def _against(losa, rival, where) -> list[Target]:
  what = f'at least {FASTER} x faster than LoRA + remat'
  memory = f'at most {ACTIVATION:g} x the activation memory of LoRA + remat'
  if losa['fits'] and not rival['fits']:
    return [Target(what, where, 'LoRA + remat does not run', None),
            Target(memory, where, 'LoRA + remat does not run', None)]
  out = [_ratio(
      what, where, rival['step_ms'], losa['step_ms'], lambda x: x >= FASTER)]
  if 'process' in (losa['peak_of'], rival['peak_of']):
    return [*out, Target(
        memory, where, 'the device has no statistics of its allocator', None)]
  return [*out, _ratio(
      memory, where, losa['activation_mib'], rival['activation_mib'],
      lambda x: x <= ACTIVATION)]


def _planned(row: dict) -> Target:
  what = f"lst.plan's memory within {OFF_PLAN:.0%} of the device's report"
  where = f'{_where(row)}, {row["method"]}'
  if row['peak_of'] != 'allocator':
    return Target(
        what, where, 'the device has no statistics of its allocator', None)
  off = float(row['plan_mib']) / float(row['peak_mib']) - 1
  return Target(what, where, f'{off:+.1%}', abs(off) <= OFF_PLAN)


def _capped(rows: list[dict]) -> Target:
  what = f'trains with the allocator held to {CAPPED["cap_gib"]:g} GiB'
  where = f'{CAPPED["model"]}, {CAPPED["batch"]} x {CAPPED["frames"]} frames'
  row = next((row for row in rows if row['cap_gib']), None)
  if row is None:
    return Target(what, where, 'was not run', None)
  figure = (f'{row["step_ms"]} ms, peak {row["peak_mib"]} MiB'
            if row['fits'] else row['note'])
  return Target(what, where, figure, row['fits'])


def told(found: list[Target]) -> str:
  """The targets as lines."""
  words = {True: 'held', False: 'MISSED', None: 'not measured'}
  return '\n'.join(
      f'{words[t.held]:>12}  {t.what} ({t.where}): {t.figure}' for t in found)
