"""The plot of a sweep: validation accuracy over each field that varies."""

import io
from typing import Any

import numpy as np

LOGARITHMIC = ('lr', 'weight_decay', 'rank', 'alpha')


def png(rows: list[dict[str, Any]], fields: list[str]) -> bytes:
  """One panel a field: every run as a dot, the best of each value joined."""
  import matplotlib.figure

  figure = matplotlib.figure.Figure(
      figsize=(max(3.2 * len(fields), 4.0), 3.2), layout='constrained')
  axes = np.atleast_1d(figure.subplots(1, len(fields), sharey=True))
  done = [r for r in rows if r['val_accuracy'] is not None]
  for axis, field in zip(axes, fields, strict=True):
    x = [r[field] for r in done]
    y = [100 * r['val_accuracy'] for r in done]
    axis.plot(x, y, 'o', color='#8da0cb', alpha=0.6, markersize=5)
    values = sorted(set(x))
    best = [max(b for a, b in zip(x, y, strict=True) if a == v) for v in values]
    axis.plot(values, best, '-', color='#1b4f91', linewidth=1.5)
    if field in LOGARITHMIC and values and min(values) > 0:
      axis.set_xscale('log', base=2 if field == 'rank' else 10)
    if len(values) <= 6:
      axis.set_xticks(values, [f'{v:g}' for v in values])
      axis.minorticks_off()
    axis.set_xlabel(field.replace('_', ' '))
    axis.grid(alpha=0.3)
  axes[0].set_ylabel('validation accuracy (%)')
  figure.suptitle(
      f'{len(rows)} runs; line: the best of each value', fontsize=10)
  out = io.BytesIO()
  figure.savefig(out, format='png', dpi=150)
  return out.getvalue()
