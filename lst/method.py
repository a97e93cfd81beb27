"""The table of methods: from a config to what it trains (`lst.contract`)."""

import contextlib
import functools

import flax.linen as nn

from lst import placement, side, taps, tuning
from lst.backbones.backbone import Backbone, extractor, runner
from lst.contract import (
    Method,
    adapted,
    beside,
    in_pass,
    on_stored,
    through,
)

__all__ = [
    'METHODS', 'OF_IMAGES', 'Method', 'adapted', 'adapter', 'beside', 'build',
    'head', 'in_pass', 'on_stored', 'through']


@contextlib.contextmanager
def _named(part: str):
  """Says of which part of a config a field is that modules know by its name."""
  try:
    yield
  except ValueError as error:
    if str(error).startswith('config.'):
      raise
    raise ValueError(f'{part}: {error}') from error


def _side(config, backbone: Backbone, classes: int) -> Method:
  with _named('config.side'):
    made = _beside(config, backbone, classes)

  @functools.wraps(made.init)
  def init(*args):
    with _named('config.side'):
      return made.init(*args)

  return made._replace(init=init)


def _beside(config, backbone: Backbone, classes: int) -> Method:
  network = side.build(
      config.side, classes, backbone.cls, backbone.prefix, backbone.times)
  nodes, keep = _taps(config, backbone), config.side.keep
  extract, stream = extractor(backbone, nodes), network.stream()
  taps.check(keep, nodes)
  if keep == 'exact' or stream is None:
    run = runner(backbone, nodes) if backbone.steps else None
    return beside(extract, network, run)
  if backbone.steps:
    raise ValueError(
        f'config.side.keep={keep!r} reads taps inside the step, and '
        f'config.backbone.blocks={backbone.blocks!r} makes them ahead of it: '
        "set one of them to 'exact' or 'loop'")
  return in_pass(extract, taps.features(keep, backbone, stream), network)


def _taps(config, backbone: Backbone) -> tuple[int, ...] | None:
  """The states that the blocks of a side network read, or None for its own."""
  nodes, last = config.side.taps, 2 * backbone.depth
  if not nodes:
    return None
  for state in nodes:
    if not isinstance(state, int) or not 0 <= state <= last:
      raise ValueError(
          f'config.side.taps has {state!r}, no state of this backbone: they '
          f'run from 0 to {last}')
  if nodes[-1] != last:
    raise ValueError(
        f'config.side.taps={nodes} has to end with {last}, the last state: all '
        'that is learned is added to it')
  return tuple(nodes)


def _placed(config, backbone: Backbone, classes: int) -> Method:
  pairs = config.placement.edges or placement.parallel(backbone.depth)
  placed = placement.place(
      backbone, placement.checked(pairs, backbone.depth),
      adapter(config.placement))
  return adapted(placed, head(config, backbone, classes))


def adapter(config) -> nn.Module:
  """What `config` (`lst.config.default().placement`) puts on each edge."""
  if config.rank < 0:
    raise ValueError(
        f'config.placement.rank={config.rank} has to be at least 1, or 0 for '
        'adapters that are not learned')
  if not config.rank:
    return placement.Unlearned(config.alpha)
  return placement.Adapter(config.rank, config.alpha)


def head(config, backbone: Backbone, classes: int) -> side.SideNetwork:
  """The classifier of `config.side`, on the last state as it is."""
  options = config.side.copy_and_resolve_references()
  options.name = 'linear'
  return side.build(
      options, classes, backbone.cls, backbone.prefix, backbone.times)


def _through(config, backbone: Backbone, classes: int, *, name: str) -> Method:
  for field, ours, needed in (
      ('blocks', backbone.blocks, 'loop'),
      ('quantise', backbone.quantise, 'none')):
    if ours != needed:
      raise ValueError(
          f'config.method={name!r} trains inside of the blocks and needs '
          f'config.backbone.{field}={needed!r}, not {ours!r}')
  if backbone.tubelet and name in BY_FRAME:
    others = ', '.join(name for name in tuning.TUNINGS if name not in BY_FRAME)
    raise ValueError(
        f'config.method={name!r} needs the states of each frame by itself, and '
        f'{backbone.name} takes clips whole: choose another of {others}, or in '
        'config.backbone.weights a backbone of images')
  tuned = tuning.build(config.tuning, name, backbone)
  return through(
      backbone, tuned, head(config, backbone, classes), config.tuning.remat)


METHODS = {
    'side': _side,
    **{name: functools.partial(_through, name=name)
       for name in tuning.TUNINGS},
    'placed': _placed,
}
# Those that read no videos, and those that read no tubelets of them.
OF_IMAGES = ('placed',)
BY_FRAME = ('st_adapter',)


def build(config, backbone: Backbone, classes: int) -> Method:
  """The method that `config` (`lst.config.default()`) names.

  Raises:
    ValueError: `config.method` is not in `METHODS`, or reads no videos.
  """
  if config.method not in METHODS:
    raise ValueError(
        f'config.method={config.method!r} is no method: choose one of '
        f'{", ".join(METHODS)}')
  if backbone.frames and config.method in OF_IMAGES:
    raise ValueError(
        f'config.method={config.method!r} reads no videos, which '
        'config.data.name is of: those that do are '
        f'{", ".join(name for name in METHODS if name not in OF_IMAGES)}')
  return METHODS[config.method](config, backbone, classes)
