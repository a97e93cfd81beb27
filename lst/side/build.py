"""The table of side networks, and the one place that reads their config."""

import flax.linen as nn

from lst.side.attention import LowRankAttention
from lst.side.attentive import Attentive
from lst.side.ladder import Ladder
from lst.side.linear import Linear
from lst.side.low_rank import LowRank
from lst.side.network import NORMS, POOLS, SideNetwork
from lst.side.video import ClipLinear, ClipLowRank


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


def _clip_low_rank(config, frames: int) -> ClipLowRank:
  if config.use_bias:
    raise ValueError(
        'config.side.use_bias=True: mixers of clips have no biases, set it to '
        'False')
  return ClipLowRank(
      frames, rank=config.rank, residual=config.residual, skip=config.skip,
      first=config.first, token_mixing=config.token_mixing,
      time_mixing=config.time_mixing, activation=config.activation,
      alpha=config.alpha, tap_norm=config.tap_norm)


CLIP_SIDES = {
    'losa': _clip_low_rank,
    'linear': lambda config, frames: ClipLinear(frames),
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
  if config.name not in SIDES:
    raise ValueError(
        f'config.side.name={config.name!r} is no side network: choose one of '
        f'{", ".join(SIDES)}')
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
      _module(config, frames), classes, pool=pool, prefix=prefix,
      norm=config.norm)


def _module(config, frames: int) -> nn.Module:
  if not frames:
    return SIDES[config.name](config)
  if config.name not in CLIP_SIDES:
    raise ValueError(
        f'config.side.name={config.name!r} reads no videos: those that do are '
        f'{", ".join(CLIP_SIDES)}')
  return CLIP_SIDES[config.name](config, frames)
