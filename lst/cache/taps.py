"""Taps on their way into a form, and a look at what was found on them."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Num

from lst.cache.errors import CacheError

Taps = tuple[Num[Array | np.ndarray, 'b _ _'], ...]


def check_found(found: Any) -> None:
  """Raises CacheError unless all of what training features gave is finite."""
  if found is None:
    raise CacheError('there are no training features to find the codebook on')
  if not all(np.isfinite(x).all() for x in jax.tree.leaves(found)):
    raise CacheError(
        'the training features hold values that are no finite numbers: no '
        'compressed form can keep them. Look at the backbone, or use '
        "config.cache.form='exact'")
