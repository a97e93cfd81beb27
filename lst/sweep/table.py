"""What a sweep shows: its banner, its table, its plot."""

import csv
import io
import json
from typing import Any

from etils import epath
from rich import box
from rich.table import Table

from lst import report, screen
from lst.sweep import points

# Rows of the table on the screen; the file has all.
SHOWN = 12


def banner(config, parts, folder, first: int, programs, runs) -> None:
  """Prints what is about to be trained."""
  chunk = programs.chunk
  about = report.banner(
      config, parts.built, folder, first, programs.over_forward(runs))
  about['step / forward'] += f', of all {len(runs.index)} runs'
  about['sweep'] = f'{len(parts.points)} runs: ' + ', '.join(
      f'{f} {len(config.sweep[f])}' for f in points.varied(config))
  if chunk:
    about['at a time'] = f'{chunk} runs: all together do not fit into memory'
  if parts.rungs:
    about['halving'] = ', '.join(
        f'{n} after step {s:,}' for s, n in parts.rungs.items())
  screen.shown().print(screen.table('lst', about), highlight=False)


def rows(config, parts, folder, runs) -> list[dict[str, Any]]:
  """One row a point, best first; a run that was dropped says where it ended.

  Args:
    config: of the sweep.
    parts: of the sweep.
    folder: with the metrics of the runs that halving dropped.
    runs: the runs that went to the end, on the host.
  """
  seen = _dropped(parts, folder)
  for row, index in enumerate(runs.index):
    seen[parts.names[index]] = (
        float(runs.best_accuracy[row]), int(runs.best_step[row]),
        parts.built.steps)
  out = []
  for name, point in zip(parts.names, parts.points, strict=True):
    accuracy, best, last = seen[name]
    out.append({
        **{f: points.value(point, f) for f in points.varied(config)},
        'val_accuracy': accuracy if accuracy >= 0 else None,
        'best_step': best, 'last_step': last})
  return sorted(
      out, key=lambda r: (-(r['val_accuracy'] or 0.0), -r['last_step']))


def _dropped(parts, folder) -> dict[str, tuple[float, int, int]]:
  """{name: (best accuracy, its step, last step)} from the metrics."""
  seen = dict.fromkeys(parts.names, (-1.0, 0, 0))
  for line in (folder / 'metrics.jsonl').read_text().splitlines():
    values = json.loads(line)
    for name in parts.names:
      accuracy = values.get(f'val_accuracy/{name}')
      if accuracy is not None:
        best = max(seen[name][:2], (accuracy, values['step']))
        seen[name] = (*best, values['step'])
  return seen


def write_metrics(folder: epath.Path, best: epath.Path, name: str) -> None:
  """The winner's own lines of the metrics, as an ordinary run has them."""
  lines = []
  for line in (folder / 'metrics.jsonl').read_text().splitlines():
    values = json.loads(line)
    own = {k: values[f'{k}/{name}'] for k in ('train_loss', 'val_accuracy')
           if f'{k}/{name}' in values}
    lines.append(json.dumps(
        {'step': values['step'], 'epoch': values['epoch'], **own}) + '\n')
  (best / 'metrics.jsonl').write_text(''.join(lines))


def write(config, rows: list[dict[str, Any]], folder: epath.Path) -> None:
  """Writes sweep.csv and sweep.png."""
  text = io.StringIO()
  writer = csv.DictWriter(text, rows[0], lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  (folder / 'sweep.csv').write_text(text.getvalue())
  from lst.sweep import plot  # Slow to import.
  (folder / 'sweep.png').write_bytes(plot.png(rows, points.varied(config)))


def show(rows: list[dict[str, Any]], folder: epath.Path) -> None:
  """Prints the best runs."""
  out = Table(
      title=f'the best of {len(rows)} runs', title_justify='left',
      title_style='bold', box=box.SIMPLE, pad_edge=False)
  fields = [f for f in rows[0] if f not in (
      'val_accuracy', 'best_step', 'last_step')]
  for field in fields:
    out.add_column(field.replace('_', ' '), style='cyan', justify='right')
  for name in ('val accuracy', 'at step'):
    out.add_column(name, justify='right')
  for row in rows[:SHOWN]:
    accuracy = row['val_accuracy']
    out.add_row(
        *(f'{row[f]:g}' for f in fields),
        'diverged' if accuracy is None else f'{accuracy:.2%}',
        f'{row["best_step"]:,} of {row["last_step"]:,}')
  console = screen.shown()
  console.print(out, highlight=False)
  console.print(
      f'all in {folder}/sweep.csv and sweep.png; the best is {folder}/best',
      highlight=False, soft_wrap=True)
