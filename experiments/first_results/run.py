"""LoSA against the linear probe, three seeds each, to results.csv.

    python -m experiments.first_results.run --out=runs/first_results
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
SIDES = ('losa', 'linear')
# Settings of its own, where the probe is better with them.
TUNED = {'cifar100': ('linear_tuned',)}
SEEDS = (0, 1, 2)
FIELDS = (
    'test_accuracy', 'test_examples', 'trainable_params',
    'flops_step_over_forward', 'seconds', 'images_per_second',
    'peak_memory_bytes', 'device')


def overrides(task: str, side: str, cifar: str) -> list[str]:
  """What a task changes in its config file; the first is that file."""
  name = f'--config.side.name={side.removesuffix("_tuned")}'
  if task == 'digits':
    return ['--config=configs/digits.py', name]
  out = [
      '--config=configs/vtab_cifar.py', name, '--config.data.name=vtab',
      f'--config.data.path={cifar}', '--config.data.train=train800val200',
      '--config.backbone.weights=embedded']
  if side.endswith('_tuned'):
    return [*out, '--config.optimizer.lr=5e-4']
  return [
      *out, '--config.train.epochs=20', '--config.optimizer.warmup_epochs=2']


def run(task: str, side: str, seed: int, cifar: str, out: pathlib.Path) -> dict:
  """Runs one command, or reads its result if it has ended before."""
  workdir = out / f'{task}-{side}-{seed}'
  subprocess.run([
      sys.executable, '-m', 'lst.main', *overrides(task, side, cifar),
      f'--workdir={workdir}', f'--config.seed={seed}'], check=True)
  return json.loads((workdir / 'result.json').read_text())


def main() -> None:
  """Runs every task that has data, side network and seed."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--cifar', default='', help='ready CIFAR-100 folder')
  args = parser.parse_args()
  tasks = ('digits', 'cifar100') if args.cifar else ('digits',)
  with (HERE / 'results.csv').open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(('task', 'side', 'seed', *FIELDS))
    for task in tasks:
      for side in (*SIDES, *TUNED.get(task, ())):
        for seed in SEEDS:
          result = run(task, side, seed, args.cifar, args.out)
          writer.writerow((task, side, seed, *(result[f] for f in FIELDS)))


if __name__ == '__main__':
  main()
