"""From samples.jsonl to the rows of results.csv: medians and spread."""

import csv
import itertools
import pathlib
import statistics

from experiments.efficiency.cases import FORWARD, Case

FIELDS = (
    'device', 'model', 'frames', 'batch', 'method', 'forward_ms', 'step_ms',
    'peak_mib', 'fits', 'q1_ms', 'q3_ms', 'samples', 'images_per_s',
    'largest_batch', 'largest_is_all', 'state_mib', 'activation_mib',
    'plan_mib', 'peak_of', 'size', 'cap_gib', 'note')
# What is said where memory did not suffice.
EXHAUSTED = ('RESOURCE_EXHAUSTED', 'out of memory', 'OOM', 'status -9')


def rows(samples: list[dict]) -> list[dict]:
  """A row for each case, with the forward pass of its group beside it."""
  def case_of(sample):
    return tuple(sample[k] for k in Case._fields)

  cases: dict[tuple, list[dict]] = {}
  for sample in samples:
    cases.setdefault(case_of(sample), []).append(sample)
  found = [_row(turns) for turns in cases.values()]
  passes = {
      _group(row): row['step_ms'] for row in found if row['method'] == FORWARD}
  for row in found:
    row['forward_ms'] = passes.get(_group(row), '')
  return found


def _group(row: dict) -> tuple:
  return tuple(row[k] for k in ('device', 'model', 'frames', 'batch', 'size'))


def _row(turns: list[dict]) -> dict:
  out = dict.fromkeys(FIELDS, '')
  first = min(turns, key=lambda one: one['turn'])
  out |= {k: v for k, v in first.items() if k in FIELDS}
  ms = list(itertools.chain(*(one.get('ms', ()) for one in turns)))
  out['fits'] = bool(ms)
  out['note'] = first['ended']
  out['largest_batch'] = first.get('largest', '')
  # It is the largest only where a larger one was tried and did not fit.
  out['largest_is_all'] = any(
      word in first.get('why', '') for word in EXHAUSTED)
  if not ms:
    exhausted = any(word in first['ended'] for word in EXHAUSTED)
    out['note'] = ('out of memory: ' if exhausted else 'failed: ') + str(
        first['ended'])
    return out
  q1, median, q3 = (
      statistics.quantiles(ms, method='inclusive') if len(ms) > 1 else 3 * ms)
  images = first['batch'] * max(first['frames'], 1)
  out |= {
      'step_ms': round(median, 2), 'q1_ms': round(q1, 2),
      'q3_ms': round(q3, 2), 'samples': len(ms),
      'images_per_s': round(1e3 * images / median, 1),
      'peak_mib': round(statistics.median(
          one['peak_mib'] for one in turns if 'peak_mib' in one), 1)}
  out['activation_mib'] = round(out['peak_mib'] - first['state_mib'], 1)
  return out


def write(path: pathlib.Path, found: list[dict]) -> None:
  """Writes results.csv."""
  with path.open('w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(found)
