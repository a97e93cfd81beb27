"""A task of a benchmark: its data under the one protocol of VTAB-1k."""

from typing import Any, NamedTuple

NATURAL, SPECIALIZED, STRUCTURED = 'natural', 'specialized', 'structured'
GROUPS = (NATURAL, SPECIALIZED, STRUCTURED)
# Of a task that is none of VTAB's.
OTHER = 'other'

TRAIN, VAL, BOTH = 800, 200, 1000


class Splits(NamedTuple):
  """Split strings: 800 to train and 200 to choose by, both, and the test."""

  train: str
  val: str
  both: str
  test: str


class Task(NamedTuple):
  """One task.

  Attributes:
    name: of the task, and of the folder of its runs.
    group: one of `GROUPS` or `OTHER`.
    classes: how many there are; None where the data say.
    test: how many test images there are; None where any will do.
    splits: of the source.
    data: the fields of `config.data` that name the source, but for its splits.
    get: how to come by the data.
    published: of a TFDS dataset, the versions that VTAB was published with.
    digests: of the 1,000 and of the test images, where they are known.
  """

  name: str
  group: str
  classes: int | None
  test: int | None
  splits: Splits
  data: dict[str, Any]
  get: str = ''
  published: str = ''
  digests: tuple[str, str] | None = None
