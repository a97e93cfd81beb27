"""Accuracy of side networks on each form of the feature cache, against exact.

    python -m experiments.cache_forms.run --out=runs/cache_forms \
        [--folders DIR/cifar100 DIR/dtd10 ...]

Trains on 800 images and validates on 200, once, after the last step; no test
image is read. The seeds of a case are one sweep. What has ended is read, not
run again.
"""

import argparse
import csv
import json
import pathlib
import statistics

from lst import config as config_lib
from lst import sweep
from lst.cache import caches

HERE = pathlib.Path(__file__).parent
SEEDS = (0, 1, 2)
RANKS = (8, 16, 32)
FORMS = (('exact', 0), ('int8', 0), *(('projected', k) for k in RANKS))
# A probe's features are one row an image, which every form keeps as it is.
CASES = (
    *(('losa', *form) for form in FORMS),
    *(('linear', *form) for form in (FORMS[0], FORMS[1], FORMS[3])))
FIELDS = ('task', 'side', 'form', 'k', 'bytes_per_image', 'seed',
          'val_accuracy', 'val_images')


def configured(folder: pathlib.Path | None, side: str, form: str, rank: int):
  """The config of a case; `folder` is a task of 800 + 200, None the digits."""
  config = config_lib.default()
  # The default when this was measured.
  config.side.residual = 'running'
  if folder is None:
    config.data.train, config.data.val = 'train[:800]', 'train[800:]'
  else:
    config.data.name, config.data.path = 'vtab', str(folder)
    config.data.train, config.data.val = 'train800', 'val200'
  config.data.test = ''
  config.side.name = side
  config.cache.form, config.cache.rank = form, max(rank, 1)
  config.optimizer.lr = 3e-3 if folder is None else 1e-3
  config.optimizer.warmup_epochs = 3.0
  # Validated once, after the last step: nothing is chosen by it.
  config.train.epochs = config.train.eval_epochs = 20.0
  config.sweep.seed = SEEDS
  return config


def run(task: str, folder, side: str, form: str, rank: int, out: pathlib.Path):
  """The rows of results.csv of a case."""
  config = configured(folder, side, form, rank)
  workdir = out / '-'.join(filter(None, (task, side, form, str(rank or ''))))
  config.cache.mode, config.cache.path = 'disk', str(workdir / 'cache')
  result = sweep.run(config, workdir)
  kept = workdir / 'bytes.json'
  if not kept.exists():
    found = caches.find(workdir / 'cache')
    kept.write_text(json.dumps(found[0].about.layout.row_bytes))
    for one in found:
      caches.delete(one)
  count = 200 if folder else 1000 - 800
  return [
      (task, side, form, rank or '', json.loads(kept.read_text()), row['seed'],
       row['val_accuracy'], count)
      for row in sorted(result['sweep'], key=lambda row: row['seed'])]


def table(rows: list[tuple]) -> str:
  """Mean accuracy in % of each case, as Markdown: a column a task."""
  tasks = list(dict.fromkeys(row[0] for row in rows))
  groups = {}
  for task, side, form, rank, size, _, accuracy, _ in rows:
    case = groups.setdefault((side, f'{form} {rank}'.strip()), {})
    case['bytes'] = size
    case.setdefault(task, []).append(100 * accuracy)
  out = ['| side network | form | KiB an image | ' + ' | '.join(tasks)
         + ' | mean, against exact |', '|---|---|---|' + '---|' * len(tasks)
         + '---|']
  for (side, form), case in groups.items():
    means = [statistics.mean(case[task]) for task in tasks]
    exact = [statistics.mean(groups[side, 'exact'][task]) for task in tasks]
    cells = [f'{mean:.1f}' for mean in means]
    out.append(
        f'| {side} | {form} | {case["bytes"] / 1024:.1f} | '
        + ' | '.join(cells) + f' | {statistics.mean(means):.1f}, '
        f'{statistics.mean(means) - statistics.mean(exact):+.1f} |')
  return '\n'.join(out) + '\n'


def main() -> None:
  """Runs every task and form; writes results.csv and table.md."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--folders', type=pathlib.Path, nargs='*', default=[],
                      help='folders with train800.txt and val200.txt')
  args = parser.parse_args()
  rows = []
  for folder in (None, *args.folders):
    task = folder.name if folder else 'digits'
    for case in CASES:
      rows += run(task, folder, *case, args.out)
    with (HERE / 'results.csv').open('w', newline='') as file:
      writer = csv.writer(file)
      writer.writerow(FIELDS)
      writer.writerows(rows)
    (HERE / 'table.md').write_text(table(rows))


if __name__ == '__main__':
  main()
