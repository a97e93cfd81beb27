"""Side networks: they read `Features` and know no backbone."""

from lst.side.attention import LowRankAttention
from lst.side.attentive import Attentive
from lst.side.build import SIDES, build
from lst.side.ladder import Ladder
from lst.side.linear import Linear
from lst.side.low_rank import LowRank
from lst.side.network import SideNetwork
from lst.side.video import ClipLinear, ClipLowRank

__all__ = [
    'SIDES', 'Attentive', 'ClipLinear', 'ClipLowRank', 'Ladder', 'Linear',
    'LowRank', 'LowRankAttention', 'SideNetwork', 'build']
