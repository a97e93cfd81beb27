"""`lst` adapts frozen vision backbones by training a small network beside."""

from lst.features import Features, Norm
from lst.side import (
    Attentive,
    Ladder,
    Linear,
    LowRank,
    LowRankAttention,
    SideNetwork,
)

__version__ = '0.1.0'
__all__ = [
    'Attentive', 'Features', 'Ladder', 'Linear', 'LowRank', 'LowRankAttention',
    'Norm', 'SideNetwork', 'classifier', 'load', 'serve']


def __getattr__(name: str):
  # `lst.load` reads files with packages that `import lst` need not wait for.
  if name == 'load':
    from lst.export import load
    return load
  if name == 'classifier':
    from lst.classify import classifier
    return classifier
  if name == 'serve':
    from lst.tasks.served import serve
    return serve
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
