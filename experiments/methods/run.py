"""Every method on the tasks of both suites, tuned alike, three seeds.

    python -m experiments.methods.run --folder=DIR
    python -m experiments.methods.run --folder=DIR --part=0/2    # and 1/2

A line of tuned.csv or tested.csv is a run that has ended: the same command
goes on with what is left.
"""

import argparse
import collections
import csv
import pathlib
import time
from collections.abc import Iterable
from typing import Any

from experiments.methods import fit
from experiments.methods.methods import (
    METHODS,
    Entry,
    Point,
    best,
    following,
)
from lst import config as config_lib
from lst.backbones import backbone as backbones
from lst.vtab import suites

HERE = pathlib.Path(__file__).parent
SEEDS = (0, 1, 2)
KEY = ('suite', 'task', 'group', 'method')
TUNED = (*KEY, *Point._fields, 'val_accuracy', 'seconds')
TESTED = (
    *KEY, 'seed', *Point._fields, 'test_accuracy', 'trainable_params',
    'seconds')


def config_of(entry: Entry, option, size: int, epochs: float, batch_size: int):
  """The config of a method with one value of its option."""
  config = config_lib.default()
  config.backbone.image_size = size
  config.train.epochs, config.train.batch_size = epochs, batch_size
  config.optimizer.warmup_epochs = epochs / 10
  config.update_from_flattened_dict(entry.fields | {entry.option[0]: option})
  return config


class Table:
  """A CSV that grows by a line with every run."""

  def __init__(self, path: pathlib.Path, fields: tuple[str, ...]):
    self._path, self._fields = path, fields
    if not path.exists():
      self._write('w', fields)

  def _write(self, mode: str, row: Iterable) -> None:
    with self._path.open(mode, newline='') as file:
      csv.writer(file, lineterminator='\n').writerow(row)

  def add(self, row: tuple) -> None:
    """Writes a line."""
    self._write('a', row)

  def rows(self, key: tuple[str, ...]) -> list[dict[str, str]]:
    """The lines of one method on one task."""
    with self._path.open(newline='') as file:
      return [row for row in csv.DictReader(file)
              if tuple(row[k] for k in KEY) == key]


def point_of(row: dict[str, str], entry: Entry) -> Point:
  """The setting that a line is of."""
  options = {str(value): value for value in entry.option[1]}
  return Point(
      float(row['lr']), float(row['weight_decay']), options[row['option']])


class Comparison:
  """The methods on one task."""

  def __init__(self, suite: str, task: fit.Task, args: argparse.Namespace):
    self._task, self._args = task, args
    self._suite = suite
    out = args.results
    self._tuned = Table(out / 'tuned.csv', TUNED)
    self._tested = Table(out / 'tested.csv', TESTED)

  def run(self, method: str, backbone: backbones.Backbone) -> None:
    """Tunes a method, then trains and tests it with each seed."""
    entry = METHODS[method]
    key = (self._suite, self._task.name, self._task.group, method)
    done = {int(row['seed']) for row in self._tested.rows(key)}
    left = [seed for seed in self._args.seeds if seed not in done]
    if not left:
      return
    fitters = Fitters(entry, self._task, backbone, self._args)
    chosen = self._chosen(key, entry, fitters)
    for seed in left:
      began = time.monotonic()
      accuracy, count = fitters[chosen.option].accuracy(
          chosen.lr, chosen.weight_decay, seed, 'both', 'test')
      self._tested.add((
          *key, seed, *chosen, accuracy, count,
          round(time.monotonic() - began, 1)))
      print(*key, f'seed {seed}', *chosen, f'test {accuracy:.4f}', flush=True)

  def _chosen(self, key, entry: Entry, fitters: 'Fitters') -> Point:
    """The best setting by the 200 images of validation."""
    tried = {point_of(row, entry): float(row['val_accuracy'])
             for row in self._tuned.rows(key)}
    while point := following(entry, tried):
      began = time.monotonic()
      tried[point], _ = fitters[point.option].accuracy(
          point.lr, point.weight_decay, 0, 'train', 'val')
      self._tuned.add((
          *key, *point, tried[point], round(time.monotonic() - began, 1)))
      print(*key, *point, f'val {tried[point]:.4f}', flush=True)
    return best(tried)


class Fitters(collections.UserDict):
  """A `fit.Fitter` for each value of a method's option, made when asked for."""

  def __init__(self, entry: Entry, task: fit.Task, backbone, args):
    super().__init__()
    self._make = lambda option: fit.Fitter(
        config_of(entry, option, args.size, args.epochs, args.batch_size),
        task, backbone)

  def __missing__(self, option):
    self[option] = self._make(option)
    return self[option]


def parser(description: str) -> argparse.ArgumentParser:
  """Of what all commands on both suites ask for."""
  out = argparse.ArgumentParser(description=description)
  out.add_argument('--suites', nargs='*', default=('bundled', 'folder'))
  out.add_argument('--folder', default='', help='of ready tasks')
  out.add_argument('--results', type=pathlib.Path, default=HERE)
  out.add_argument('--tasks', nargs='*', default=(), help='of one suite')
  out.add_argument('--seeds', nargs='*', type=int, default=SEEDS)
  out.add_argument('--size', type=int, default=32, help='pixels a side')
  out.add_argument('--epochs', type=float, default=10.0)
  out.add_argument('--batch_size', type=int, default=32)
  out.add_argument('--weights', default='embedded')
  out.add_argument('--dtype', default='bfloat16')
  out.add_argument('--part', default='0/1', help='every n-th task: k/n')
  return out


def opened(args: argparse.Namespace) -> tuple[Any, backbones.Backbone]:
  """The config that tasks are read by, and its backbone."""
  config = config_lib.default()
  config.backbone.weights, config.backbone.dtype = args.weights, args.dtype
  config.backbone.image_size = args.size
  return config, backbones.build(config.backbone)


def tasks(args: argparse.Namespace) -> list[tuple[str, Any]]:
  """(suite, task) of each that is asked for."""
  part, parts = map(int, args.part.split('/'))
  return [(suite, task) for suite in args.suites for task in suites.select(
      suite, args.folder, tuple(args.tasks))][part::parts]


def main(argv: list[str] | None = None) -> None:
  """Runs what is asked for and is not there yet."""
  asked = parser(__doc__)
  asked.add_argument('--methods', nargs='*', default=list(METHODS))
  args = asked.parse_args(argv)
  config, backbone = opened(args)
  for suite, task in tasks(args):
    compared = Comparison(suite, fit.read(config, task), args)
    for method in args.methods:
      compared.run(method, backbone)


if __name__ == '__main__':
  main()
