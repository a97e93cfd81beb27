"""The processes of one run, which keep features together."""

from collections.abc import Callable
from typing import Any, NamedTuple

from lst.data import Batch


class Peers(NamedTuple):
  """The processes of one run, as a cache meets them.

  Attributes:
    index, count: this process, of how many.
    agree: (f, *errors) -> what `f()` gave in the first process, in each.
    whole: (this process's part of a batch of images) -> (taps of the whole
      batch, the whole batch), on this host.
  """

  index: int
  count: int
  agree: Callable[..., Any]
  whole: Callable[[Batch], tuple[tuple[Any, ...], Batch]] | None = None


ALONE = Peers(0, 1, lambda f, *errors: f())
