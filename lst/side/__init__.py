"""Side networks: they read `Features` and know no backbone."""

from lst.side.build import SIDES, build
from lst.side.linear import Linear
from lst.side.low_rank import LowRank
from lst.side.network import SideNetwork
from lst.side.video import ClipLinear, ClipLowRank

__all__ = [
    'SIDES', 'ClipLinear', 'ClipLowRank', 'Linear', 'LowRank', 'SideNetwork',
    'build']
