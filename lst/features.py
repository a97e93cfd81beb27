"""`Features`: what a frozen backbone hands to a side network.

Legend of the shape letters used throughout: b images in the batch, n tokens,
d channels of the backbone, l taps, r rank, c classes.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float


class Norm(NamedTuple):
  """A frozen layer norm: the one a checkpoint puts after its last block."""

  scale: Float[Array, ' d']
  bias: Float[Array, ' d']
  eps: Float[Array, ''] | float


class Features(NamedTuple):
  """The states of one batch that a side network reads.

  Attributes:
    taps: one (B, N, D) array for each tapped block, first block first; the
      last is the backbone's last state, ahead of its final norm. CLS and
      register tokens stand ahead of the patches. Of clips N = T S: the S
      tokens of the first frame, then those of the next.
    norm: the checkpoint's final norm, or None to leave the last state as it
      is.
    reader: how products with taps are taken where they are not kept as they
      are (`lst.taps`): taps are None then, and the last a shape and a dtype.
      Such features live inside one program.
  """

  taps: tuple[Float[Array, 'b n d'], ...]
  norm: Norm | None = None
  reader: Callable | None = None
