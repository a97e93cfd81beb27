"""What a search leaves: edges, scores, their picture, a config that trains."""

import csv
import pprint
from collections.abc import Iterable

import numpy as np
from etils import epath
from matplotlib import colors
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console

from lst import config as config_lib
from lst import screen, workdir
from lst.placement import Edge
from lst.placement.selections import BY_SCORE

FRAGMENT = '''"""{count} {what} where {selection} put them{by}.

    python -m lst.main --config={path}

Written by python -m lst.search.
"""

from lst.config import default


def get_config():
  config = default()
{lines}
  return config
'''


# What the columns of a picture are.
LABELS = {
    'edges': {},
    'taps': {'target': 'side block', 'staircase': False},
}


def write(folder: epath.Path, config, found) -> None:
  """Writes all files of a search."""
  search = config.search
  workdir.write_json(folder / 'edges.json', {
      'selection': search.selection, 'score': search.score, 'eta': search.eta,
      'what': search.what,
      'edges': [tuple(edge) for edge in found.edges],
      'scores': [float(found.scores[edge]) for edge in found.edges],
      'costs': found.costs._asdict() if found.costs else None, **found.facts,
      'config': config_lib.flat(config)})
  with (folder / 'spectra.npy').open('wb') as file:
    np.save(file, found.spectra, allow_pickle=False)
  with (folder / 'scores.csv').open('w') as file:
    rows = csv.writer(file, lineterminator='\n')
    rows.writerow(('source', 'target', 'score'))
    for (i, j), score in np.ndenumerate(found.scores):
      rows.writerow((i, j, f'{score:.6g}'))
  figure = picture(
      found.scores, found.edges,
      f'{search.score} on {config.data.name} {config.data.task}'.strip(),
      **LABELS[search.what])
  with (folder / 'scores.png').open('wb') as file:
    figure.savefig(file, dpi=120, format='png')
  (folder / 'found.py').write_text(
      fragment(config, found.edges, folder / 'found.py'))


def fragment(config, edges: tuple[tuple[int, int], ...], path) -> str:
  """A config file that differs from `config` in what it trains alone."""
  changed = config.copy_and_resolve_references()
  with changed.unlocked():
    if config.search.what == 'taps':
      changed.method = 'side'
      changed.side.taps = tuple(state for state, _ in edges)
      # It would leave out so many of the chosen taps, not blocks.
      changed.side.skip = 0
    else:
      changed.method = 'placed'
      changed.placement.edges = tuple(tuple(edge) for edge in edges)
  default = config_lib.flat(config_lib.default())
  lines = []
  for name, value in config_lib.flat(changed).items():
    # Of what is trained all is said: a default may be another one some day.
    said = value != default[name] or name.startswith('side.')
    if said and not name.startswith('search.'):
      text = pprint.pformat(value, width=70, compact=True)
      text = text.replace('\n', '\n      ')
      lines.append(f'  config.{name} = {text}')
  search = config.search
  by = f', by {search.score}' if search.selection in BY_SCORE else ''
  return FRAGMENT.format(
      count=len(edges), selection=search.selection, by=by,
      what={'edges': 'adapters', 'taps': 'taps'}[search.what], path=path,
      lines='\n'.join(lines))


def picture(
    scores: np.ndarray,
    edges: Iterable[tuple[int, int]],
    title: str,
    target: str = 'state that the adapter adds to',
    staircase: bool = True,
    label: str = 'score',
) -> Figure:
  """The scores (n, m) of all edges: rows are sources, columns targets.

  The chosen edges are numbered in their order; a staircase stands between
  those that go forward (above) and the recurrent ones.
  """
  rows, columns = scores.shape
  figure = Figure(
      figsize=(4.0 + 0.17 * columns, 3.0 + 0.17 * rows), layout='constrained')
  axes = figure.add_subplot()
  shown = axes.imshow(scores, cmap='viridis')
  bar = figure.colorbar(shown, ax=axes, shrink=0.8)
  bar.set_label(label)
  dark = colors.Normalize(np.nanmin(scores), np.nanmax(scores))
  for number, (i, j) in enumerate(edges, start=1):
    axes.text(
        j, i, str(number), ha='center', va='center', fontsize=7,
        color='black' if dark(scores[i, j]) > 0.6 else 'white')
    axes.add_patch(Rectangle(
        (j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor='tab:red',
        linewidth=1.2))
  if staircase:
    corners = np.arange(rows + 1) - 0.5
    axes.step(corners, corners, where='pre', color='white', linewidth=0.8)
  axes.set(
      title=title, xlabel=f'target: {target}',
      ylabel='source: state that it reads', xlim=(-0.5, columns - 0.5),
      ylim=(rows - 0.5, -0.5))
  axes.set_xticks(range(0, columns, max(1, columns // 13)))
  axes.set_yticks(range(0, rows, max(1, rows // 13)))
  return figure


def show(folder: epath.Path, config, found) -> None:
  """Prints the edges and what they cost."""
  def told(edge):
    kind = '' if found.costs is None else f'{Edge(*edge).kind} '
    return f'({edge[0]}, {edge[1]}) {kind}{found.scores[edge]:.4g}'

  facts, accuracy = found.facts, found.facts['probe_accuracy']
  rows = {
      config.search.what: ', '.join(map(told, found.edges)),
      'scored': (
          f'{found.scores.size:,} edges by {config.search.score} on '
          f'{facts["examples"]:,} examples'),
      'trained first': (
          'no validation split' if accuracy is None else
          f'{accuracy:.2%} of validation'),
      **_costs(found.costs),
      'took': ', '.join(
          f'{name} {s:.1f} s' for name, s in facts['seconds'].items()),
      'in': (
          f'{folder}: edges.json, scores.csv, scores.png, spectra.npy and '
          'found.py, which trains what was found'),
  }
  Console().print(screen.table('search', rows), highlight=False)


def _costs(costs) -> dict[str, str]:
  if costs is None:
    return {'a prediction': 'one forward pass; nothing goes back through it'}
  return {
      'a prediction': (
          f'{costs.forwards:.2f} forward passes, {costs.cached:.2f} with '
          f'cached states, {costs.flops / 1e9:.3g} GFLOPs an image'),
      'a step': f'{costs.step:.2f} forward passes',
      'trainable': f'{costs.parameters:,} parameters beside the head',
  }
