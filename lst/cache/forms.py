"""The forms that features are kept in, and the way back to features.

A form has three parts: `fit` finds its codebook on training features, `encode`
makes what is stored, `expand` makes features of that. The last two are pure
and run inside jit, so that only the small form moves to the device.

A tap of a single token (a pooled or CLS row) is kept as it is in every form:
the classifier reads it directly, and beside whole taps it costs nothing.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from lst.cache.errors import CacheError
from lst.cache.projected import Projected
from lst.cache.taps import Taps, check_found
from lst.features import Features, Norm


class Exact(NamedTuple):
  """The features as they are, in their own dtype.

  Attributes:
    norm: the final norm that the features carry, or None.
  """

  norm: Norm | None

  @classmethod
  def fit(cls, batches: Iterable[Taps], norm: Norm | None, rank: int):
    """Nothing has to be found; `batches` of (B, N, D) are left alone."""
    del batches, rank
    return cls(norm)

  def encode(self, taps: Taps) -> Taps:
    """The taps (B, N, D)."""
    return taps

  def expand(self, stored: Taps) -> Taps:
    """The taps (B, N, D)."""
    return stored


class Channels(NamedTuple):
  """8-bit integers with one scale for each tap and channel.

  Attributes:
    scales: (D,) in the dtype of the tap, which is largest magnitude / 127
      over the training features; None for a tap that is kept as it is.
    norm: the final norm that the features carry, or None.
  """

  scales: tuple[Float[Array, ' d'] | None, ...]
  norm: Norm | None

  @classmethod
  def fit(cls, batches: Iterable[Taps], norm: Norm | None, rank: int):
    """Takes the largest magnitudes; what exceeds them later is clipped."""
    del rank
    tops, dtypes = None, None
    for taps in batches:
      now = _largest(taps)
      tops = now if tops is None else jax.tree.map(jnp.maximum, tops, now)
      dtypes = [tap.dtype for tap in taps]
    check_found(tops)
    scales = [
        None if top is None else
        jnp.where(top > 0, top / 127, 1).astype(dtype)
        for top, dtype in zip(tops, dtypes, strict=True)]
    return cls(tuple(scales), norm)

  def encode(self, taps: Taps) -> Taps:
    """int8 (B, N, D), to the nearest step of the scale."""
    return tuple(
        tap if scale is None else _rounded(tap, scale)
        for tap, scale in zip(taps, self.scales, strict=True))

  def expand(self, stored: Taps) -> Taps:
    """The taps within half a step, in the dtype of the features."""
    return tuple(
        x if scale is None else
        (x.astype(jnp.float32) * scale.astype(jnp.float32)).astype(scale.dtype)
        for x, scale in zip(stored, self.scales, strict=True))


Codebook = Exact | Channels | Projected
FORMS = {'exact': Exact, 'int8': Channels, 'projected': Projected}


def fit(
    form: str, batches: Iterable[Any] = (), norm: Norm | None = None,
    rank: int = 0,
) -> Codebook:
  """Finds the codebook of a form on training features.

  Args:
    form: a key of `FORMS`.
    batches: tuples of taps (B, N, D), read once; not at all for 'exact'.
    norm: what `expand` is to give back beside the taps.
    rank: k of 'projected'.

  Raises:
    CacheError: an unknown form, no batch, or features that are no numbers.
  """
  if form not in FORMS:
    raise CacheError(
        f'config.cache.form={form!r} is none of {", ".join(FORMS)}')
  return FORMS[form].fit(batches, norm, rank)


def encode(taps: Taps, codebook: Codebook) -> Taps:
  """What is stored of the taps (B, N, D); pure."""
  return codebook.encode(tuple(taps))


def expand(stored: Taps, codebook: Codebook) -> Features:
  """Features from what is stored; pure, for use inside jit.

  >>> taps = (jnp.ones((2, 3, 4)), jnp.ones((2, 1, 4)))
  >>> codebook = fit('int8', [taps])
  >>> stored = encode(taps, codebook)
  >>> [x.dtype.name for x in stored]
  ['int8', 'float32']
  >>> [x.shape for x in expand(stored, codebook).taps]
  [(2, 3, 4), (2, 1, 4)]
  """
  return Features(codebook.expand(tuple(stored)), codebook.norm)


def _rounded(tap, scale) -> Int8[Array, 'b n d']:
  steps = jnp.round(tap.astype(jnp.float32) / scale.astype(jnp.float32))
  return jnp.clip(steps, -127, 127).astype(jnp.int8)


@jax.jit
def _largest(taps):
  """The largest magnitude of each channel, or None."""
  return tuple(
      None if tap.shape[1] == 1 else
      jnp.abs(tap).max((0, 1)).astype(jnp.float32) for tap in taps)
