"""The linear probe: the last state as it is, under a trained classifier."""

import flax.linen as nn

from lst.features import Features
from lst.side.refined import Refined


class Linear(nn.Module):
  """Refines nothing. `SideNetwork(Linear(), classes)` is the linear probe."""

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Returns the last tap (B, N, D)."""
    return Refined(features.taps[-1])
