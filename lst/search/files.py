"""What a search leaves: edges, scores, their picture, a config that trains."""

import csv
import pprint

import numpy as np
from etils import epath
from matplotlib import colors
from matplotlib.figure import Figure
from rich.console import Console

from lst import config as config_lib
from lst import screen, workdir
from lst.placement import Edge

FRAGMENT = '''"""{count} adapters where {selection} put them, by {score}.

    python -m lst.main --config={path}

Written by python -m lst.search.
"""

from lst.config import default


def get_config():
  config = default()
{lines}
  return config
'''


def write(folder: epath.Path, config, found) -> None:
  """Writes all files of a search."""
  search = config.search
  workdir.write_json(folder / 'edges.json', {
      'selection': search.selection, 'score': search.score, 'eta': search.eta,
      'edges': [tuple(edge) for edge in found.edges],
      'kinds': [edge.kind for edge in found.edges],
      'scores': [float(found.scores[edge]) for edge in found.edges],
      'costs': found.costs._asdict(), **found.facts,
      'config': config_lib.flat(config)})
  with (folder / 'spectra.npy').open('wb') as file:
    np.save(file, found.spectra, allow_pickle=False)
  with (folder / 'scores.csv').open('w') as file:
    rows = csv.writer(file, lineterminator='\n')
    rows.writerow(('source', 'target', 'kind', 'score'))
    for (i, j), score in np.ndenumerate(found.scores):
      rows.writerow((i, j, Edge(i, j).kind, f'{score:.6g}'))
  figure = picture(
      found.scores, found.edges,
      f'{search.score} on {config.data.name} {config.data.task}'.strip())
  with (folder / 'scores.png').open('wb') as file:
    figure.savefig(file, dpi=120, format='png')
  (folder / 'placed.py').write_text(
      fragment(config, found.edges, folder / 'placed.py'))


def fragment(config, edges: tuple[Edge, ...], path) -> str:
  """A config file that differs from `config` in what it trains alone."""
  changed = config.copy_and_resolve_references()
  with changed.unlocked():
    changed.method = 'placed'
    changed.placement.edges = tuple(tuple(edge) for edge in edges)
  default = config_lib.flat(config_lib.default())
  lines = []
  for name, value in config_lib.flat(changed).items():
    if value != default[name] and not name.startswith('search.'):
      text = pprint.pformat(value, width=70, compact=True)
      text = text.replace('\n', '\n      ')
      lines.append(f'  config.{name} = {text}')
  return FRAGMENT.format(
      count=len(edges), selection=config.search.selection,
      score=config.search.score, path=path, lines='\n'.join(lines))


def picture(
    scores: np.ndarray, edges: tuple[Edge, ...], title: str
) -> Figure:
  """The scores of all edges: rows are sources, columns targets.

  The chosen edges are numbered in their order; the line stands between those
  that go forward (above) and the recurrent ones.
  """
  count = len(scores)
  side = 3.0 + 0.17 * count
  figure = Figure(figsize=(side + 1.0, side), layout='constrained')
  axes = figure.add_subplot()
  shown = axes.imshow(scores, cmap='viridis')
  bar = figure.colorbar(shown, ax=axes, shrink=0.8)
  bar.set_label('score')
  dark = colors.Normalize(scores.min(), max(scores.max(), 1e-30))
  for number, edge in enumerate(edges, start=1):
    axes.text(
        edge.target, edge.source, str(number), ha='center', va='center',
        fontsize=7, color='black' if dark(scores[edge]) > 0.6 else 'white')
    axes.add_patch(_frame(edge))
  axes.step(
      np.arange(count + 1) - 0.5, np.arange(count + 1) - 0.5, where='pre',
      color='white', linewidth=0.8)
  axes.set(
      title=title, xlabel='target: state that the adapter adds to',
      ylabel='source: state that it reads', xlim=(-0.5, count - 0.5),
      ylim=(count - 0.5, -0.5))
  every = max(1, count // 13)
  axes.set_xticks(range(0, count, every))
  axes.set_yticks(range(0, count, every))
  return figure


def _frame(edge: Edge):
  from matplotlib.patches import Rectangle
  return Rectangle(
      (edge.target - 0.5, edge.source - 0.5), 1, 1, fill=False,
      edgecolor='tab:red', linewidth=1.2)


def show(folder: epath.Path, config, found) -> None:
  """Prints the edges and what they cost."""
  edges = ', '.join(
      f'({e.source}, {e.target}) {e.kind} {found.scores[e]:.4g}'
      for e in found.edges)
  costs, facts = found.costs, found.facts
  seconds = ', '.join(
      f'{name} {s:.1f} s' for name, s in facts['seconds'].items())
  rows = {
      'edges': edges,
      'scored': (
          f'{found.scores.size:,} edges by {config.search.score} on '
          f'{facts["examples"]:,} examples'),
      'probe': (
          'no validation split' if facts['probe_accuracy'] is None else
          f'{facts["probe_accuracy"]:.2%} of validation'),
      'a prediction': (
          f'{costs.forwards:.2f} forward passes, {costs.cached:.2f} with '
          f'cached states, {costs.flops / 1e9:.3g} GFLOPs an image'),
      'a step': f'{costs.step:.2f} forward passes',
      'trainable': f'{costs.parameters:,} parameters beside the head',
      'took': seconds,
      'in': (
          f'{folder}: edges.json, scores.csv, scores.png, spectra.npy and '
          'placed.py, which trains them'),
  }
  Console().print(screen.table('search', rows), highlight=False)
