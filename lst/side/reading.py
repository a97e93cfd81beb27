"""What a side network reads of taps: one product of each tap with a weight.

All that follows is as wide as the product, so a tap is needed at that moment
alone, and once more in the backward pass for the gradient of the weight. Hence
a side network asks for all of its products at once (`read`), whatever taps are
kept as; see `lst.taps`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
from jaxtyping import Array, Float

from lst.features import Features
from lst.product import by_column, by_row


@flax.struct.dataclass
class Read:
  """A product of a tap (B, N, D) and a weight.

  Attributes:
    weight: (r, D), (r, N), or of the tokens or the times of a frame (r, S) and
      (r, T).
    kind: 'channel' -> (B, N, r), 'token' -> (B, r, D); of clips 'space' -> (B,
      T, r, D) and 'time' -> (B, r, S, D).
    frames: T of clips, whose tokens stand frame by frame.
  """

  weight: Any
  kind: str = flax.struct.field(pytree_node=False, default='channel')
  frames: int = flax.struct.field(pytree_node=False, default=0)


def _space(tap, read):
  b, _, d = tap.shape
  out = by_column(read.weight, tap.reshape(b * read.frames, -1, d))
  return out.reshape(b, read.frames, -1, d)


def _time(tap, read):
  b, _, d = tap.shape
  out = by_column(read.weight, tap.reshape(b, read.frames, -1))
  return out.reshape(b, len(read.weight), -1, d)


KINDS: dict[str, Callable[[Array, Read], Array]] = {
    'channel': lambda tap, read: by_row(tap, read.weight),
    'token': lambda tap, read: by_column(read.weight, tap),
    'space': _space,
    'time': _time,
}
Reads = tuple[Read | None, ...]


def of_tap(tap: Float[Array, 'b n d'], read: Read) -> Float[Array, 'b *shape']:
  """The product of one tap, in f32."""
  return KINDS[read.kind](tap, read)


def read(
    features: Features, reads: Reads
) -> tuple[tuple[Array | None, ...], Float[Array, 'b n d']]:
  """The products of prepared features, all of them, and the last tap.

  Args:
    features: prepared; where taps are not kept as arrays, the last one has but
      a shape and a dtype until now.
    reads: of each tap; None where nothing is read.
  """
  with jax.named_scope('taps'):
    if features.reader is not None:
      return features.reader(reads)
    return tuple(
        None if read is None else of_tap(tap, read)
        for tap, read in zip(features.taps, reads, strict=True)
    ), features.taps[-1]


class AskedError(Exception):
  """What a side network reads: nobody sees it but `asked`."""

  def __init__(self, reads: Reads):
    super().__init__('not caught')
    self.reads = reads


def asked(call: Callable[[Features], Any], features: Features) -> Reads:
  """What a side network reads of features, before there is an answer.

  So the answer can be made outside of the module, among whose own parts those
  of a backbone would be counted.

  Args:
    call: of the module.
    features: with a `reader`.
  """
  def ask(reads: Reads):
    raise AskedError(reads)

  try:
    call(features._replace(reader=ask))
  except AskedError as error:
    return error.reads
  raise ValueError('the side network reads no tap')


class Stream(NamedTuple):
  """How a side network prepares taps one by one, as a pass comes to them.

  To rounding, what it reads are the taps that its `prepare` gives.

  Attributes:
    take: (what is carried, a tap) -> (what is carried, what is read of it).
    last: (what is carried after the last tap, that tap) -> (the last tap as it
      is prepared, which is what is read of it; what comes on top of what is
      read of all others, or None).
    begin: a tap's shape -> what is carried ahead of the first.
    skip: taps at the start that `prepare` leaves out.
  """

  take: Callable[[Any, Array], tuple[Any, Array]] = lambda carry, tap: (
      carry, tap)
  last: Callable[[Any, Array], tuple[Array, Array | None]] = (
      lambda carry, tap: (tap, None))
  begin: Callable[[Any], Any] = lambda tap: None
  skip: int = 0
