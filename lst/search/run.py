"""A search from its config to its files: probe, score, select, write."""

import time
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from lst import config as config_lib
from lst import method as methods
from lst import placement
from lst.build import build
from lst.placement import selections
from lst.search import files, scoring, taps


class Found(NamedTuple):
  """What a search found.

  Attributes:
    edges: in the order they were chosen; of taps, (state, side block), in the
      order of the blocks.
    scores: of all edges, [source, target].
    spectra: the singular values behind them, [source, target, k].
    costs: of the edges; None for taps, which cost a plain pass.
    facts: seconds of each part, examples, validation accuracy of what was
      trained ahead of scoring.
  """

  edges: tuple[tuple[int, int], ...]
  scores: np.ndarray
  spectra: np.ndarray
  costs: placement.Costs | None
  facts: dict[str, Any]


def run(config, folder: epath.PathLike) -> Found:
  """Finds edges for the data and backbone of a config.

  Args:
    config: `lst.config.default()`, changed or not; `config.search` says how.
    folder: gets edges.json, scores.csv, spectra.npy, scores.png and found.py, a
      config file that trains what was found.

  Raises:
    ValueError: a field of the config is wrong, or the states do not fit into
      memory.
    lst.data.DataError: the data is missing or malformed.
  """
  config_lib.check(config)
  found = search(config)
  folder = epath.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  files.write(folder, config, found)
  files.show(folder, config, found)
  return found


def search(config) -> Found:
  """`run` without its files."""
  _check(config)
  return WHAT[config.search.what](config, _Clock())


def _built(config):
  built = build(config)
  if built.backbone.frames:
    raise ValueError(
        f'config.data.name={config.data.name!r} is of videos: a search is made '
        'on images alone')
  return built


def _edges(config, clock) -> Found:
  probe = scoring.probe_config(config)
  built = _built(probe)
  scoring.check_memory(config, built)
  _check_edges(config, built.backbone.depth)
  clock.lap('build')
  params, accuracy = scoring.trained(probe, built)
  clock.lap('probe')
  task = scoring.Task(config, built, params['head'])
  values = task.spectra(())
  clock.lap('score')
  backbone = built.backbone._replace(frozen=built.weights)
  asked = selections.Asked(
      backbone.depth, config.search.count, task.scores(values),
      config.search.gamma, placement.layers(backbone).forwards,
      config.search.cost, config.search.least,
      task.rescore if config.search.rescore_steps else None, config.seed,
      config.placement.edges)
  edges = selections.select(config.search.selection, asked)
  clock.lap('select')
  costs = placement.costs(backbone, edges, task.adapter)
  return Found(
      edges, asked.scores, values, costs, _facts(config, accuracy, clock))


def _taps(config, clock) -> Found:
  built = _built(taps.warm_config(config))
  scoring.check_memory(config, built)
  clock.lap('build')
  values, accuracy = taps.spectra(config, built)
  clock.lap('score')
  scores = placement.scored(values, config.search.score, config.search.eta)
  pairs = placement.tap_map(scores, config.search.count, config.search.gamma)
  return Found(pairs, scores, values, None, _facts(config, accuracy, clock))


WHAT = {'edges': _edges, 'taps': _taps}


def _facts(config, accuracy, clock) -> dict[str, Any]:
  return {
      'examples': config.search.batches * config.search.batch_size,
      'probe_accuracy': accuracy, 'seconds': clock.laps}


class _Clock:
  """Seconds of each part."""

  def __init__(self):
    self.laps, self._last = {}, time.monotonic()

  def lap(self, name: str) -> None:
    now = time.monotonic()
    self.laps[name], self._last = now - self._last, now


def _check(config) -> None:
  if jax.process_count() > 1:
    raise ValueError('a search is made by a single process')
  if config.tasks:
    raise ValueError(
        'a search is for one task, of config.data: config.tasks has '
        f'{", ".join(config.tasks)}')
  # What would fail after minutes of scoring.
  for field, known in (
      ('what', WHAT), ('selection', selections.SELECTIONS),
      ('score', placement.SCORES)):
    if config.search[field] not in known:
      raise ValueError(
          f'config.search.{field}={config.search[field]!r} is none of '
          f'{", ".join(known)}')
  _check_ranges(config.search)
  if not config.train.epochs > 0:
    raise ValueError(
        f'config.train.epochs={config.train.epochs} has to be above 0')
  if config.backbone.blocks != 'loop':
    raise ValueError(
        f'config.backbone.blocks={config.backbone.blocks!r}: a search reads '
        "the states inside of the blocks, too, and needs 'loop'")
  CHECKS[config.search.what](config)


def _check_ranges(search) -> None:
  good = {
      **{field: (search[field] >= 1, 'at least 1')
         for field in ('count', 'batches', 'batch_size')},
      'probe_epochs': (
          search.probe_epochs > 0, 'above 0: under the head that a run starts '
          'with, all zeros, every gradient is zero'),
      'gamma': (0 <= search.gamma < 1, 'from 0 to below 1'),
      'eta': (0 <= search.eta < 1, 'from 0 to below 1'),
      'cost': (search.cost >= 0, '0 or more'),
      'least': (0 <= search.least <= 1, 'from 0 to 1'),
      'rescore_steps': (search.rescore_steps >= 0, '0 (once) or more'),
  }
  for field, (holds, range_) in good.items():
    if not holds:
      raise ValueError(
          f'config.search.{field}={search[field]} has to be {range_}')


def _check_adapters(config) -> None:
  methods.adapter(config.placement)
  if config.search.selection == 'given' and not config.placement.edges:
    raise ValueError(
        "config.search.selection='given' takes config.placement.edges, which "
        'has none')


CHECKS = {'edges': _check_adapters, 'taps': taps.check}


def _check_edges(config, depth: int) -> None:
  """What could be no set of edges of a backbone of so many blocks."""
  search = config.search
  every = len(placement.everything(depth))
  if search.selection == 'random' and search.count > every:
    raise ValueError(
        f'config.search.count={search.count}: there are {every} edges')
  if search.selection == 'given':
    try:
      placement.checked(config.placement.edges, depth)
    except ValueError as error:
      raise ValueError(f'config.placement.edges: {error}') from error
