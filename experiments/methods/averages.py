"""What the runs of a method cost, with what each of them has chosen."""

import collections
import csv
import pathlib

import numpy as np

COSTS = {
    'trainable_params': 'trainable parameters',
    'step_flops': 'FLOPs of a step',
    'peak_mib': 'peak memory, MiB',
    'step_ms': 'time of a step, ms',
}
# Of a method and a value of its option.
Costs = dict[tuple[str, str], dict[str, str]]


def read(path: pathlib.Path) -> list[dict[str, str]]:
  """The lines of a CSV; none if it is not there."""
  if not path.exists():
    return []
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


def costs_of(results: pathlib.Path) -> Costs:
  """Lines of costs.csv and memory.csv as one, of a method and an option."""
  out = collections.defaultdict(dict)
  for name in ('memory.csv', 'costs.csv'):
    for row in read(results / name):
      out[row['method'], row['option']] |= row
  return dict(out)


def cost(costs: Costs, method: str, option: str) -> dict[str, str]:
  """Of a method; where its option changes nothing, it has one line for all."""
  return costs.get((method, option)) or costs.get((method, ''), {})


def mean_costs(rows: list[dict], costs: Costs, suite: str) -> dict[str, dict]:
  """{method: {cost: its mean over all runs of a suite}}: those of what was
  chosen on each task, with the parameters of its own head."""
  out = {}
  for name in dict.fromkeys(name for name, _ in costs):
    method = name.partition(' ')[0]
    each = [
        cost(costs, name, row['option']) | {
            'trainable_params': row['trainable_params']}
        for row in rows if (row['suite'], row['method']) == (suite, method)]
    out[name] = {
        key: float(np.mean([float(x[key]) for x in each]))
        for key in (*COSTS, 'kept_step_ms') if all(x.get(key) for x in each)
        and each}
  return out
