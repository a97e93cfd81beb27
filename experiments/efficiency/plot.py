"""The picture: time of a step over the forward pass, and memory."""

import pathlib

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt

from experiments.efficiency.cases import FORWARD, METHODS


def draw(rows: list[dict], rehearsal: bool, path: pathlib.Path) -> None:
  """A column of panels for each input: step / forward, peak, largest batch.

  Args:
    rows: of results.csv.
    rehearsal: whether it was one, which the title then says.
    path: of the picture.
  """
  rows = [row for row in rows if not row['cap_gib']]
  inputs = sorted({(int(r['frames']), int(r['batch'])) for r in rows})
  models = list(dict.fromkeys(row['model'] for row in rows))
  figure, axes = plt.subplots(
      3, len(inputs), figsize=(max(1 + 4.6 * len(inputs), 8), 9), squeeze=False,
      layout='constrained')
  device = next((row['device'] for row in rows if row['device']), '?')
  title = f'one {device}, random weights'
  if rehearsal:
    title = ('REHEARSAL at small size, not a result: '
             f'{rows[0]["size"]} px,\n{title}')
  figure.suptitle(title)
  for column, (frames, batch) in enumerate(inputs):
    some = [r for r in rows if (r['frames'], r['batch']) == (frames, batch)]
    what = f'{batch} x {frames} frames' if frames else f'{batch} images'
    for axis, (name, value) in zip(axes[:, column], (
        ('step / forward pass', _over_forward),
        ('peak memory, MiB' + _whose(some), lambda r: r['peak_mib']),
        ('largest batch that was tried and ran',
         lambda r: r['largest_batch'])), strict=True):
      _bars(axis, some, models, value)
      axis.set_title(f'{what}: {name}', fontsize=9)
  axes[0, 0].axhline(1.1, color='black', lw=0.8, ls=':')
  handles, labels = axes[0, 0].get_legend_handles_labels()
  for axis in axes[0]:
    more = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    handles += [h for name, h in more.items() if name not in labels]
    labels += [name for name in more if name not in labels]
  figure.legend(handles, labels, loc='outside lower center', ncols=8,
                fontsize=8)
  figure.savefig(path, dpi=110)
  plt.close(figure)


def _whose(rows: list[dict]) -> str:
  kinds = {row['peak_of'] for row in rows if row['peak_of']}
  return ' (of the whole process)' if 'process' in kinds else ''


def _over_forward(row: dict):
  if '' in (row['step_ms'], row['forward_ms']):
    return ''
  return float(row['step_ms']) / float(row['forward_ms'])


def _bars(axis, rows, models, value) -> None:
  """Bars by model; what did not run is a cross on the ground."""
  methods = [m for m in METHODS if m != FORWARD]
  width = 0.8 / len(methods)
  for k, method in enumerate(methods):
    found = {r['model']: r for r in rows if r['method'] == method}
    if not found:
      continue
    xs = [x + (k - (len(methods) - 1) / 2) * width
          for x, model in enumerate(models) if model in found]
    heights = [value(found[m]) for m in models if m in found]
    axis.bar(xs, [float(h or 0) for h in heights], width, label=method,
             color=f'C{k}')
    gone = [x for x, h in zip(xs, heights, strict=True) if h == '']
    axis.plot(gone, [0] * len(gone), 'x', color=f'C{k}')
  axis.set_xticks(range(len(models)), models, fontsize=8)
