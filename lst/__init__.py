"""`lst` adapts frozen vision backbones by training a small network beside."""

from lst.features import Features, Norm
from lst.side import Linear, LowRank, SideNetwork

__version__ = '0.1.0'
__all__ = ['Features', 'Linear', 'LowRank', 'Norm', 'SideNetwork']
