"""Labels that a TFDS record holds only by way of a calculation: a table.

The definitions are VTAB's (Zhai et al., arXiv 1910.04867), as published in
google-research/task_adaptation, `data/clevr.py`, `data/kitti.py`,
`data/dsprites.py`; written anew here, in NumPy.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Record = Mapping[str, Any]


class Reading(NamedTuple):
  """How a record becomes a labelled image.

  Attributes:
    features: that are read, beside the image.
    classes: the names of the labels.
    label: (record) -> the index of the class.
    pixels: of the decoded image, uint8 (h, w, 3), what is seen; None = as is.
  """

  features: tuple[str, ...]
  classes: tuple[str, ...]
  label: Callable[[Record], int]
  pixels: Callable[[np.ndarray], np.ndarray] | None = None


def interval(value: float, bounds: tuple[float, ...]) -> int:
  """The k of the one interval bounds[k] < value <= bounds[k + 1].

  The last interval has no end.

  >>> [interval(x, (0.0, 8.0, 8.5)) for x in (0.5, 8.0, 8.1, 50.0)]
  [0, 0, 1, 2]
  """
  found = int(np.searchsorted(bounds, value, side='left')) - 1
  if found < 0:
    raise ValueError(f'{value} is not above {bounds[0]}')
  return found


_CLEVR_BOUNDS = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0)
_KITTI_BOUNDS = (-100.0, 8.0, 20.0, 999.0)
# Of KITTI's types: car, van, truck.
_VEHICLES = 3
_NO_VEHICLE = 1000.0
_CLEVR_FEWEST, _CLEVR_MOST = 3, 10
_SPRITE_BINS = 16


def _clevr_count(record: Record) -> int:
  """Objects in the scene, of which there are 3 to 10."""
  return len(record['objects']['size']) - _CLEVR_FEWEST


def _clevr_distance(record: Record) -> int:
  """The depth of the nearest object, in one of six intervals."""
  depths = np.asarray(record['objects']['pixel_coords'])[:, 2]
  return interval(float(depths.min()), _CLEVR_BOUNDS)


def _kitti_distance(record: Record) -> int:
  """Metres to the nearest car, van or truck, in three intervals, or none."""
  types = np.asarray(record['objects']['type'])
  depths = np.asarray(record['objects']['location']).reshape(-1, 3)[:, 2]
  vehicles = depths[types < _VEHICLES]
  nearest = float(vehicles.min(initial=_NO_VEHICLE))
  return interval(nearest, _KITTI_BOUNDS)


def _sprites(feature: str, values: int) -> Reading:
  """A factor of dSprites whose values are put together to 16 classes."""
  def label(record: Record) -> int:
    # As a floor of a division by 2.5 for the 40 angles.
    return int(record[feature]) * _SPRITE_BINS // values

  # The images hold 0 and 1.
  return Reading(
    (feature,), _numbered(_SPRITE_BINS), label, lambda pixels: pixels * 255
  )


def _numbered(count: int) -> tuple[str, ...]:
  return tuple(str(k) for k in range(count))


# A key is what `config.data.reading` names.
READINGS: dict[str, Reading] = {
  'clevr_count': Reading(
    ('objects',),
    tuple(str(n) for n in range(_CLEVR_FEWEST, _CLEVR_MOST + 1)),
    _clevr_count,
  ),
  'clevr_distance': Reading(
    ('objects',), _numbered(len(_CLEVR_BOUNDS)), _clevr_distance
  ),
  'kitti_distance': Reading(
    ('objects',),
    ('to 8 m', 'to 20 m', 'above 20 m', 'no vehicle'),
    _kitti_distance,
  ),
  'dsprites_x': _sprites('label_x_position', 32),
  'dsprites_orientation': _sprites('label_orientation', 40),
}
