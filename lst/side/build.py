"""The table of side networks, and the one place that reads their config."""

from typing import NamedTuple

import flax.linen as nn

from lst.side.attention import LowRankAttention
from lst.side.attentive import Attentive
from lst.side.ladder import Ladder
from lst.side.linear import Linear
from lst.side.low_rank import LowRank
from lst.side.network import NORMS, POOLS, SideNetwork
from lst.side.side4video import Side4Video
from lst.side.video import ClipLinear, ClipLowRank
from lst.side.video_ladder import ClipLadder


class Clip(NamedTuple):
  """What the features of a clip hold.

  Attributes:
    frames: T.
    cls: whether the first token of a frame is a CLS token.
    prefix: number of CLS and register tokens of a frame.
  """

  frames: int
  cls: bool
  prefix: int


def _low_rank(config) -> LowRank:
  return LowRank(
      rank=config.rank, residual=config.residual, skip=config.skip,
      first=config.first, token_mixing=config.token_mixing,
      activation=config.activation, alpha=config.alpha,
      use_bias=config.use_bias, tap_norm=config.tap_norm)


SIDES = {
    'losa': _low_rank,
    'lst': lambda config: Ladder(
        config.reduction, config.skip, config.add_last),
    'last': lambda config: LowRankAttention(config.rank, config.skip),
    'attentive': lambda config: Attentive(config.heads),
    'linear': lambda config: Linear(),
}


def _clip_low_rank(config, clip: Clip) -> ClipLowRank:
  if config.use_bias:
    raise ValueError(
        'config.side.use_bias=True: mixers of clips have no biases, set it to '
        'False')
  return ClipLowRank(
      clip.frames, rank=config.rank, residual=config.residual, skip=config.skip,
      first=config.first, token_mixing=config.token_mixing,
      time_mixing=config.time_mixing, activation=config.activation,
      alpha=config.alpha, tap_norm=config.tap_norm)


CLIP_SIDES = {
    'losa': _clip_low_rank,
    'lst': lambda config, clip: ClipLadder(
        clip.frames, config.reduction, config.skip, config.add_last,
        config.time_mixing),
    'attentive': lambda config, clip: Attentive(
        config.heads, clip.frames if config.time_mixing else 0),
    'linear': lambda config, clip: ClipLinear(clip.frames),
    'side4video': lambda config, clip: Side4Video(
        clip.frames, clip.cls, clip.prefix, config.reduction, config.skip),
}


def build(
    config, classes: int, cls: bool, prefix: int, frames: int = 0
) -> SideNetwork:
  """A `SideNetwork` from the `side` part of a config.

  Args:
    config: `lst.config.default().side`, changed or not.
    classes: number of classes.
    cls: whether token 0 of the features is a CLS token.
    prefix: number of CLS and register tokens.
    frames: of a clip, whose frames are read by themselves; 0 for images.

  Raises:
    ValueError: `config.name`, `config.pool` or `config.norm` is not known, or
      the CLS token is asked for where there is none.
  """
  names = dict.fromkeys((*SIDES, *CLIP_SIDES))
  if config.name not in names:
    raise ValueError(
        f'config.side.name={config.name!r} is no side network: choose one of '
        f'{", ".join(names)}')
  for field, known in (('pool', ('auto', *POOLS)), ('norm', NORMS)):
    if config[field] not in known:
      raise ValueError(
          f'config.side.{field}={config[field]!r} is none of '
          f'{", ".join(known)}')
  pool = config.pool
  if pool == 'auto':
    pool = 'cls' if cls else 'mean'
  if pool == 'cls' and not cls:
    raise ValueError(
        "config.side.pool='cls', but this backbone has no CLS token: use "
        "'mean', 'patches' or 'auto'")
  return SideNetwork(
      _module(config, Clip(frames, cls, prefix)), classes, pool=pool,
      prefix=prefix, norm=config.norm)


def _module(config, clip: Clip) -> nn.Module:
  table, what = (
      (CLIP_SIDES, 'videos') if clip.frames else (SIDES, 'images'))
  if config.name not in table:
    raise ValueError(
        f'config.side.name={config.name!r} reads no {what}: those that do are '
        f'{", ".join(table)}')
  make = table[config.name]
  return make(config, clip) if clip.frames else make(config)
