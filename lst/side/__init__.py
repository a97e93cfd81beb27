"""Side networks: they read `Features` and know no backbone."""

from lst.side.attention import LowRankAttention
from lst.side.attentive import Attentive
from lst.side.build import CLIP_SIDES, SIDES, build
from lst.side.ladder import Ladder
from lst.side.linear import Linear
from lst.side.low_rank import LowRank
from lst.side.network import SideNetwork
from lst.side.side4video import Side4Video
from lst.side.video import ClipLinear, ClipLowRank
from lst.side.video_ladder import ClipLadder

__all__ = [
    'CLIP_SIDES', 'SIDES', 'Attentive', 'ClipLadder', 'ClipLinear',
    'ClipLowRank', 'Ladder', 'Linear', 'LowRank', 'LowRankAttention',
    'Side4Video', 'SideNetwork', 'build']
