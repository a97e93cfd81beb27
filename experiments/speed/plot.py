"""Draws results.csv: step, memory, task and tuning of every case."""

import pathlib

PANELS = (('step_ms', 'step, ms'), ('peak_mib', 'peak memory, MiB'),
          ('task_s', 'one task, s'), ('tuning_s', 'tuning of 24 points, s'))
COLORS = {'lst': ('#0b5394', '#7fb2e5'), 'torch': ('#b45f06', '#f2b97f')}
DTYPES = {'bfloat16': 'bf16', 'float32': 'f32'}


def _label(key: tuple[str, str]) -> str:
  framework, method = key
  return f'{framework}  {method.replace("_", " ")}'


def _bars(axes, rows: list[dict], keys: list, field: str) -> None:
  """One bar for each case and dtype with its value; times on a log axis."""
  place = {key: i for i, key in enumerate(reversed(keys))}
  dtypes = [d for d in DTYPES if d in {row['dtype'] for row in rows}]
  height = 0.8 / len(dtypes)
  for row in rows:
    if row[field] == '':
      continue
    value, at = float(row[field]), dtypes.index(row['dtype'])
    key = row['framework'], row['method']
    y = place[key] + 0.4 - height * (at + 0.5)
    axes.barh(y, value, height, color=COLORS[key[0]][at])
    axes.text(value, y, f' {value:,.3g}' if value < 100 else f' {value:,.0f}',
              va='center', fontsize=6.5)
  if field != 'peak_mib':
    axes.set_xscale('log')
  axes.margins(x=0.18)
  axes.set_yticks(range(len(keys)), map(_label, reversed(keys)), fontsize=8)
  axes.set_ylim(-0.6, len(keys) - 0.4)
  axes.tick_params(axis='x', labelsize=7)
  axes.spines[['top', 'right']].set_visible(False)


def _picture(rows: list[dict], title: str, path: pathlib.Path) -> None:
  from matplotlib.figure import Figure  # Needed by nothing else here.
  from matplotlib.patches import Patch

  keys = list(dict.fromkeys((r['framework'], r['method']) for r in rows))
  figure = Figure(figsize=(13, 0.9 + 0.36 * len(keys)), dpi=110)
  for axes, (field, name) in zip(
      figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
    _bars(axes, rows, keys, field)
    axes.set_xlabel(name, fontsize=8)
  dtypes = [d for d in DTYPES if d in {row['dtype'] for row in rows}]
  figure.legend(
      handles=[Patch(color=COLORS[f][i], label=f'{f} {DTYPES[d]}')
               for f in COLORS for i, d in enumerate(dtypes)],
      loc='upper right', ncols=4, frameon=False, fontsize=8)
  figure.suptitle(title, x=0.01, ha='left', fontsize=10)
  figure.tight_layout()
  figure.savefig(path)


def draw(rows: list[dict], out: pathlib.Path) -> None:
  """One picture for each device and model: speed_cpu_B16.png."""
  for device, model in dict.fromkeys((r['device'], r['model']) for r in rows):
    some = [r for r in rows if (r['device'], r['model']) == (device, model)]
    batch = some[0]['batch']
    _picture(
        some,
        f'ViT-{model}, 224 px, batch {batch}, {device} (times on log axes)',
        out / f'speed_{device}_{model.replace("/", "")}.png')
