"""The linear probe: the last state as it is, under a trained classifier."""

from typing import ClassVar

import flax.linen as nn

from lst.features import Features
from lst.side.refined import Refined


class Linear(nn.Module):
  """Refines nothing. `SideNetwork(Linear(), classes)` is the linear probe."""

  refines: ClassVar[bool] = False
  pools: ClassVar[bool] = False

  def prepare(self, features: Features) -> Features:
    """Features with the last tap (B, N, D) alone: no other is read."""
    return features._replace(taps=features.taps[-1:])

  def stream(self) -> None:
    """No tap but the last is read."""

  def __call__(self, features: Features) -> Refined:
    """Returns the last tap (B, N, D)."""
    return Refined(features.taps[-1])
