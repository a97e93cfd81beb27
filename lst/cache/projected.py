"""The projected form: each tap on few directions, a few rows kept whole."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lst.cache.errors import CacheError
from lst.cache.taps import Taps, check_found
from lst.features import Norm


class Projected(NamedTuple):
  """Each tap on its k leading principal directions.

  The directions are those of the uncentred second moment over all tokens of
  the training features: of all k-dimensional subspaces theirs leaves the
  smallest squared error, the mean needs no constant beside the product, and a
  down-projection `Wd = basis^T a` inside the span meets exactly what it would
  have met: `x Wd = stored a`, to rounding. Whoever wants to stay in the small
  form takes the stored (B, N, k) and the basis; `expand` gives (B, N, D).

  The last tap is also what is pooled and classified, and few directions do not
  tell classes apart. So its first token (CLS, where there is one) and the mean
  over its tokens are kept whole, (B, 2, D) behind its coefficients in one flat
  row (B, 1, N k + 2 D): `expand` puts the one in its place and moves the other
  tokens, all alike, until the mean is right.

  Attributes:
    bases: (k, D) in f32 with orthonormal rows, strongest direction first;
      None for a tap that is kept as it is.
    norm: the final norm that the features carry, or None.
  """

  bases: tuple[Float[Array, 'k d'] | None, ...]
  norm: Norm | None

  @classmethod
  def fit(cls, batches: Iterable[Taps], norm: Norm | None, rank: int):
    """Adds up the second moments, then takes their leading eigenvectors."""
    if rank < 1:
      raise CacheError(
          f'a projection on {rank} directions keeps nothing: set '
          'config.cache.rank to 1 or more')
    sums = None
    for taps in batches:
      # In f32 within a batch, in f64 over the batches.
      now = jax.tree.map(
          lambda x: np.asarray(x, np.float64), _moments(taps, rank))
      sums = now if sums is None else jax.tree.map(np.add, sums, now)
    check_found(sums)
    return cls(
        tuple(None if m is None else _leading(m, rank) for m in sums), norm)

  def encode(self, taps: Taps) -> Taps:
    """The coefficients (B, N, k), in the dtype of the tap; flat the last."""
    out = [
        tap if basis is None else
        _dot('bnd,kd->bnk', tap.astype(jnp.float32), basis).astype(tap.dtype)
        for tap, basis in zip(taps, self.bases, strict=True)]
    if self.bases[-1] is not None:
      out[-1] = _with_rows(out[-1], taps[-1])
    return tuple(out)

  def expand(self, stored: Taps) -> Taps:
    """The projected taps (B, N, D), in the dtype of the features."""
    last = self.bases[-1]
    if last is not None:
      *stored, flat = stored
      coefficients, rows = _apart(flat, *last.shape)
      stored = (*stored, coefficients)
    out = [
        x if basis is None else
        _dot('bnk,kd->bnd', x, basis.astype(x.dtype)).astype(x.dtype)
        for x, basis in zip(stored, self.bases, strict=True)]
    if last is not None:
      out[-1] = _moved(out[-1], rows)
    return tuple(out)


def _moments(taps, rank):
  """X^T X of the tokens, where that leaves directions out; else None."""
  return tuple(
      None if tap.shape[1] == 1 or rank >= tap.shape[2] else _moment(tap)
      for tap in taps)


@jax.jit
def _moment(tap: Float[Array, 'b n d']) -> Float[Array, 'd d']:
  return _dot('bnd,bne->de', tap, tap)


def _leading(moment: np.ndarray, rank: int) -> Float[Array, 'k d']:
  basis = np.linalg.eigh(moment)[1][:, ::-1][:, :rank].T
  # An eigenvector has no sign; with one, the same data give the same basis.
  largest = np.take_along_axis(
      basis, np.abs(basis).argmax(1, keepdims=True), 1)
  return jnp.asarray(basis * np.sign(largest), jnp.float32)


def _with_rows(
    coefficients: Float[Array, 'b n k'], tap: Float[Array, 'b n d']
) -> Float[Array, 'b 1 f']:
  """The coefficients, the first token and the mean in one flat row."""
  mean = tap.astype(jnp.float32).mean(1).astype(tap.dtype)
  parts = coefficients.reshape(len(tap), -1), tap[:, 0], mean
  return jnp.concatenate(parts, 1)[:, None]


def _apart(
    flat: Float[Array, 'b 1 f'], rank: int, width: int
) -> tuple[Float[Array, 'b n k'], Float[Array, 'b 2 d']]:
  """The inverse: coefficients and rows."""
  rows = flat[:, 0, -2 * width:].reshape(-1, 2, width)
  return flat[:, 0, :-2 * width].reshape(len(flat), -1, rank), rows


def _moved(
    tap: Float[Array, 'b n d'], rows: Float[Array, 'b 2 d']
) -> Float[Array, 'b n d']:
  """The tap with this first token, and the others moved to this mean."""
  first, mean = jnp.moveaxis(rows.astype(jnp.float32), 1, 0)
  others = tap[:, 1:].astype(jnp.float32)
  count = tap.shape[1]
  by = (count * mean - first - others.sum(1)) / (count - 1)
  out = jnp.concatenate([first[:, None], others + by[:, None]], 1)
  return out.astype(tap.dtype)


def _dot(spec, x, y):
  return jnp.einsum(
      spec, x, y, precision='highest', preferred_element_type=jnp.float32)
