"""The picture of accuracy, time and bytes of each kind of weights."""

import pathlib
import statistics

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt


def draw(rows: list[dict], speed: list[dict], path: pathlib.Path) -> None:
  """Three panels, a bar a kind.

  Args:
    rows, speed: of results.csv and speed.csv.
    path: of the picture.
  """
  kinds = list(dict.fromkeys(row['weights'] for row in rows))
  figure, (left, middle, right) = plt.subplots(
      1, 3, figsize=(10, 3.2), layout='constrained')
  seeds = {kind: [100 * float(r['accuracy']) for r in rows
                  if r['weights'] == kind] for kind in kinds}
  for x, kind in enumerate(kinds):
    left.plot([x] * len(seeds[kind]), seeds[kind], 'o', color='tab:blue')
    left.plot(x, statistics.mean(seeds[kind]), '_', ms=24, color='black')
  left.set_xticks(range(len(kinds)), kinds)
  left.set_title('LoSA on digits, embedded backbone\nseeds and mean, %',
                 fontsize=9)
  names = [row['weights'] for row in speed]
  what = f'{speed[0]["model"]}, batch {speed[0]["batch"]}, {speed[0]["device"]}'
  median = [float(row['forward_ms']) for row in speed]
  low = [m - float(row['q1_ms']) for m, row in zip(median, speed, strict=True)]
  high = [float(row['q3_ms']) - m for m, row in zip(median, speed, strict=True)]
  middle.bar(names, median, yerr=(low, high), color='tab:orange', capsize=4)
  middle.set_title(f'forward pass, ms (quartiles)\n{what}', fontsize=9)
  right.bar(names, [float(row['block_mib']) for row in speed],
            color='tab:green')
  right.set_title(f'weights of the blocks, MiB\n{speed[0]["model"]}',
                  fontsize=9)
  figure.savefig(path, dpi=120)
  plt.close(figure)
