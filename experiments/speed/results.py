"""From samples.csv to results.csv, spread.csv and a table.

    python -m experiments.speed.results --out=DIR
"""

import argparse
import csv
import pathlib
import statistics

from experiments.speed import cases

KEY = ('device', 'framework', 'method', 'model', 'dtype', 'batch')
SAMPLE_FIELDS = (*KEY, 'images', 'kind', 'round', 'value')
FIELDS = (*KEY, 'step_ms', 'peak_mib', 'task_s', 'tuning_s')
SPREAD_FIELDS = (*KEY, 'samples', 'min_ms', 'q1_ms', 'median_ms', 'q3_ms')


def read(path: pathlib.Path) -> dict[tuple, dict[str, list[float]]]:
  """{case: {kind: values}}; failed cases are left out."""
  found = {}
  with path.open() as file:
    for row in csv.DictReader(file):
      if row['kind'] != 'failed':
        kinds = found.setdefault(tuple(row[k] for k in KEY), {})
        kinds.setdefault(row['kind'], []).append(float(row['value']))
  return {key: kinds for key, kinds in found.items() if 'step_ms' in kinds}


def spread(key: tuple, values: list[float]) -> dict:
  """Minimum and quartiles of the steps of a case."""
  if len(values) > 1:
    q1, median, q3 = statistics.quantiles(values, method='inclusive')
  else:
    q1 = median = q3 = values[0]
  ms = (min(values), q1, median, q3)
  return dict(zip(SPREAD_FIELDS, (
      *key, len(values), *(round(x, 3) for x in ms)), strict=True))


def derive(samples: dict) -> list[dict]:
  """The rows of results.csv: medians, and what a task costs by them."""
  step = {key: statistics.median(kinds['step_ms'])
          for key, kinds in samples.items()}
  rows = []
  for key, ms in step.items():
    row = dict(zip(KEY, key, strict=True))
    features = step.get((*key[:2], 'features', *key[3:]), float('nan'))
    costs = cases.costs(row['method'], int(row['batch']), ms, features)
    peak = samples[key].get('peak_mib')
    row |= {'step_ms': round(ms, 3), 'peak_mib': round(peak[0]) if peak else ''}
    for field in ('task_s', 'tuning_s'):
      value = getattr(costs, field) if costs else float('nan')
      row[field] = round(value, 2) if value == value else ''
    rows.append(row)
  return rows


def write(out: pathlib.Path) -> list[dict]:
  """Writes both files from the samples; returns the rows of results.csv."""
  samples = read(out / 'samples.csv')
  rows = derive(samples)
  spreads = [spread(key, kinds['step_ms']) for key, kinds in samples.items()]
  for name, fields, content in (
      ('results.csv', FIELDS, rows), ('spread.csv', SPREAD_FIELDS, spreads)):
    with (out / name).open('w', newline='') as file:
      writer = csv.DictWriter(file, fields, lineterminator='\n')
      writer.writeheader()
      writer.writerows(content)
  return rows


def _number(value, scale: float = 1.0) -> str:
  if value == '':
    return ''
  value = float(value) * scale
  return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def _times(row: dict, peers: dict, field: str) -> str:
  """How often the peer's LoRA needs this row's time."""
  peer = peers.get((row['model'], row['dtype']))
  if peer is None or '' in (row[field], peer[field]):
    return ''
  return f'{float(peer[field]) / float(row[field]):.3g} x'


def table(rows: list[dict]) -> str:
  """The rows in Markdown, with ratios to the peer's LoRA."""
  peers = {(r['model'], r['dtype']): r for r in rows
           if (r['framework'], r['method']) == ('torch', 'lora')}
  lines = [
      '| model | dtype | case | step, ms | peak, GiB | task, s | LoRA over it '
      '| tuning, s | LoRA over it |',
      '|---|---|---|---|---|---|---|---|---|']
  for row in rows:
    cells = (
        row['model'], row['dtype'], f'{row["framework"]} {row["method"]}',
        _number(row['step_ms']), _number(row['peak_mib'], 1 / 1024),
        _number(row['task_s']), _times(row, peers, 'task_s'),
        _number(row['tuning_s']), _times(row, peers, 'tuning_s'))
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines)


def main() -> None:
  """Derives everything from DIR/samples.csv anew and prints the table."""
  from experiments.speed import plot

  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  args = parser.parse_args()
  rows = write(args.out)
  plot.draw(rows, args.out)
  print(table(rows))


if __name__ == '__main__':
  main()
