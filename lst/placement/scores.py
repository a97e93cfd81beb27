"""How much a task asks for an adapter on every edge, from one pass each way.

A linear adapter x_j + x_i W with W = 0 leaves the network as it was, and its
gradient is x_i^T (dL/dx_j), summed over tokens and examples: whatever the edge,
parallel or recurrent. So the states and their gradients of one forward and one
backward pass give those of all (2L + 1)^2 edges (Nowak et al., 2024). What is
kept of each is its singular values; a score is a function of these.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from lst.placement.placed import Placed

# Bytes of the states that are multiplied at a time.
CHUNK_BYTES = 2**28


class States(NamedTuple):
  """The states of some examples and the gradients of their losses.

  Attributes:
    plain: of the plain pass, which recurrent edges read, each (B, N, D).
    adapted: of the adapted pass, which all others read; the same arrays as
      `plain` where no adapter has been trained.
    gradients: of the loss, summed over examples, with respect to what is added
      to each state.
  """

  plain: tuple[Shaped[Array | np.ndarray, 'b n d'], ...]
  adapted: tuple[Shaped[Array | np.ndarray, 'b n d'], ...]
  gradients: tuple[Shaped[Array | np.ndarray, 'b n d'], ...]


def states(
    placed: Placed, total_loss: Callable[[Array, Any], Float[Array, '']]
) -> Callable[[dict, Any, Any, Any], States]:
  """(params, frozen, images, labels) -> the `States` of a batch.

  Args:
    placed: of `place(..., whole=True)`, with the adapters there are so far.
    total_loss: (last state, labels) -> the summed loss of the task's head.
  """
  def run(params, frozen, images, labels):
    plain = placed.extract(frozen, images)

    def loss(shifts):
      seen = [None] * len(shifts)

      def shift(k, z):
        return z + shifts[k]

      def see(k, x):
        seen[k] = x
        return x

      last = placed.resume(params, frozen, plain, shift, see)
      return total_loss(last, labels), tuple(seen)

    shifts = tuple(jnp.zeros_like(x) for x in plain.taps)
    gradients, adapted = jax.grad(loss, has_aux=True)(shifts)
    return States(plain.taps, adapted, gradients)

  return run


def spectra(
    batches: Sequence[States], chunk_bytes: int = CHUNK_BYTES
) -> Float[np.ndarray, 'n n d']:
  """Singular values of the gradient of a linear adapter on each edge, falling.

  Exact to f32: the matrix of each edge is formed from the states in their own
  dtype, a few edges at a time. Where fewer rows than channels have a gradient
  (with CLS pooling, in the last layer), the small factors R of x^T = Q R stand
  for the states: their product, as small, has the same singular values.

  Args:
    batches: of one or several batches, all of whose examples are summed over.
    chunk_bytes: of the states that are multiplied at a time.

  Returns:
    [source, target, k], with zeros where there are fewer than D.

  Raises:
    ValueError: every gradient is zero, as under a head that is all zeros.
  """
  plain, adapted, gradients = (
      [_rows(parts) for parts in zip(*kind, strict=True)]
      for kind in zip(*batches, strict=True))
  return between(
      lambda target: adapted[:target + 1] + plain[target + 1:], gradients,
      chunk_bytes)


def between(
    sources: Callable[[int], list[np.ndarray]],
    gradients: Sequence[np.ndarray],
    chunk_bytes: int = CHUNK_BYTES,
) -> Float[np.ndarray, 'n m d']:
  """Singular values of x^T g, from every source to every target.

  Args:
    sources: target -> the rows (T, D) of each source.
    gradients: the rows (T, D) of each target.
    chunk_bytes: of the sources that are multiplied at a time.

  Raises:
    ValueError: every gradient is zero.
  """
  used = [np.flatnonzero(np.any(np.asarray(g), 1)) for g in gradients]
  if not any(map(len, used)):
    raise ValueError(
        'every gradient is zero, so no edge has a score: the head of the task '
        'is all zeros as it starts, and nothing comes back through it. Train '
        'it alone first (a linear probe), then score')
  width = gradients[0].shape[1]
  shape = len(sources(0)), len(gradients), width
  out = np.zeros(shape, np.float32)
  for target, rows in enumerate(used):
    values = _into(
        sources(target), gradients[target][rows], rows, chunk_bytes)
    out[:, target, :values.shape[1]] = values
  return out


def _into(sources, gradient, rows, chunk_bytes) -> np.ndarray:
  """The spectra of edges from all `sources` into one target."""
  factored = len(rows) < gradient.shape[1]
  right = jnp.asarray(gradient)
  right = _factor(right).T if factored else right
  size = max(1, chunk_bytes // max(1, 4 * gradient.size))
  out = []
  for start in range(0, len(sources), size):
    left = [jnp.asarray(x[rows]) for x in sources[start:start + size]]
    left = jnp.stack([_factor(x) if factored else x.T for x in left])
    out.append(np.asarray(_values(left, right)))
  return np.concatenate(out)


def _rows(parts: Sequence[Array | np.ndarray]) -> np.ndarray:
  """Batches (B, N, D) as rows (T, D) on the host, in their dtype."""
  return np.concatenate([np.asarray(x).reshape(-1, x.shape[-1]) for x in parts])


@jax.jit
def _factor(x: Shaped[Array, 't d']) -> Float[Array, 't t']:
  """R of x^T = Q R, for fewer rows than channels."""
  return jnp.linalg.qr(x.T.astype(jnp.float32), mode='r')


@jax.jit
def _values(
    left: Shaped[Array, 'c d t'], right: Shaped[Array, 't e']
) -> Float[Array, 'c k']:
  product = functools.partial(
      jnp.einsum, 'cdt,te->cde', precision=jax.lax.Precision.HIGHEST,
      preferred_element_type=jnp.float32)
  return jnp.linalg.svd(product(left, right), compute_uv=False)


def srank(s: Float[np.ndarray, '... k'], eta: float) -> np.ndarray:
  """The smallest k with all but the first k values at most `eta` of their sum.

  Kumar et al., 2021; the score of Nowak et al., 2024. Of zeros alone, 0.

  >>> srank(np.array([[3.0, 1.0, 0.01, 0.0], [0.0, 0.0, 0.0, 0.0]]), 0.01)
  array([2, 0])
  """
  total = s.sum(-1, keepdims=True)
  left = total - np.cumsum(s, -1)
  # Beyond what rounding leaves of a sum.
  return np.sum(left > eta * total + 1e-12 * total, -1) + (total[..., 0] > 0.0)


def stable_rank(s: Float[np.ndarray, '... k']) -> np.ndarray:
  """Squared Frobenius over squared spectral norm."""
  return _over(np.square(s).sum(-1), np.square(s).max(-1))


def entropy_rank(s: Float[np.ndarray, '... k']) -> np.ndarray:
  """exp of the entropy of the values over their sum (Roy & Vetterli, 2007)."""
  p = _over(s, s.sum(-1, keepdims=True))
  logs = np.log(np.where(p > 0, p, 1.0))
  return np.where(s.any(-1), np.exp(-np.sum(p * logs, -1)), 0.0)


def _over(x, y):
  return np.divide(x, y, out=np.zeros_like(x), where=np.broadcast_to(
      y > 0, np.shape(x)))


# (singular values [..., k], eta) -> a score each.
SCORES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    'srank': srank,
    'stable_rank': lambda s, eta: stable_rank(s),
    'entropy_rank': lambda s, eta: entropy_rank(s),
    'nuclear': lambda s, eta: s.sum(-1),
    'frobenius': lambda s, eta: np.sqrt(np.square(s).sum(-1)),
    'spectral': lambda s, eta: s.max(-1),
}


def scored(
    values: Float[np.ndarray, 'n m d'], name: str, eta: float = 0.01
) -> Float[np.ndarray, 'n m']:
  """The scores of all edges, [source, target], in double precision.

  Args:
    values: as `spectra` gives them.
    name: a key of `SCORES`.
    eta: of 'srank'.

  Raises:
    ValueError: `name` is no score, or `eta` is not within 0 and 1.
  """
  if name not in SCORES:
    raise ValueError(f'{name!r} is no score: choose one of {", ".join(SCORES)}')
  if not 0 <= eta < 1:
    raise ValueError(f'eta={eta} has to be from 0 to below 1')
  return SCORES[name](values.astype(np.float64), eta).astype(np.float64)
