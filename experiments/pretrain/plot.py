"""Joins the curves of a constant phase and its cool-down, and draws them.

    python -m experiments.pretrain.plot --curves W/curve.csv W-cool/curve.csv

`--then` names the curve of a run that began from what these ended with
(`pretrain --init`): its steps, epochs and images go on from theirs.
"""

import argparse
import csv
import pathlib


def read(paths: list[pathlib.Path]) -> list[dict[str, str]]:
  """Rows by step; where two runs hold a step, the later file's counts."""
  tables = []
  for path in paths:
    with path.open() as file:
      tables.append(list(csv.DictReader(file)))
  rows = {}
  for table in tables:
    first = int(table[0]['step'])
    rows = {step: row for step, row in rows.items() if step < first}
    rows |= {int(row['step']): row for row in table}
  return [rows[step] for step in sorted(rows)]


def after(rows: list[dict[str, str]], more: list[dict[str, str]]) -> list:
  """The rows of a run, and those of one that went on from its weights."""
  last = rows[-1]
  def moved(row):
    return row | {
        'step': int(row['step']) + int(last['step']),
        'epoch': round(float(row['epoch']) + float(last['epoch']), 3),
        'images': int(row['images']) + int(last['images'])}

  return rows + [moved(row) for row in more]


def draw(rows: list[dict[str, str]], out: pathlib.Path):
  """Loss on the left, both accuracies on the right, against epochs."""
  from matplotlib.figure import Figure  # Needed by nothing else here.

  figure = Figure(figsize=(7, 2.6), dpi=100)
  left, right = figure.subplots(1, 2)
  epochs = [float(row['epoch']) for row in rows]
  left.plot(epochs, [float(row['loss']) for row in rows])
  left.set(xlabel='epoch', ylabel='training loss')
  right.plot(epochs, [100 * float(row['train_accuracy']) for row in rows],
             label='training, augmented')
  marked = [row for row in rows if row['val_accuracy']]
  right.plot([float(row['epoch']) for row in marked],
             [100 * float(row['val_accuracy']) for row in marked], 'o-',
             label='validation')
  right.set(xlabel='epoch', ylabel='accuracy, %')
  right.legend(frameon=False)
  figure.tight_layout()
  figure.savefig(out)


def main():
  """Reads the flags, writes `curve.csv` and `curve.png`."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--curves', type=pathlib.Path, nargs='+', required=True)
  parser.add_argument('--then', type=pathlib.Path, nargs='*', default=())
  parser.add_argument('--out', type=pathlib.Path,
                      default=pathlib.Path(__file__).parent)
  flags = parser.parse_args()
  rows = read(flags.curves)
  for path in flags.then:
    rows = after(rows, read([path]))
  with (flags.out / 'curve.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
  draw(rows, flags.out / 'curve.png')


if __name__ == '__main__':
  main()
