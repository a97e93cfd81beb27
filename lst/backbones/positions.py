"""Where a patch is: learned positions on any grid, fixed and rotary ones."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
  """Keys' cubic kernel; PyTorch takes a = -0.75, Pillow and JAX -0.5."""
  x = np.abs(x)
  near = (a + 2) * x**3 - (a + 3) * x**2 + 1
  far = a * (x**3 - 5 * x**2 + 8 * x - 4)
  return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _linear(x: np.ndarray) -> np.ndarray:
  return np.maximum(1 - np.abs(x), 0.0)


# (kernel, its reach to either side, whether it widens when shrinking, whether
# the outermost points stay where they are)
RESIZES = {
    'bicubic': (functools.partial(_cubic, a=-0.75), 2, False, False),
    'bicubic_antialias': (functools.partial(_cubic, a=-0.5), 2, True, False),
    'bilinear': (_linear, 1, False, False),
    'bilinear_antialias': (_linear, 1, True, False),
    'bilinear_corners': (_linear, 1, False, True),
}


@functools.lru_cache(maxsize=64)
def resize_matrix(old: int, new: int, method: str) -> np.ndarray:
  """The (new, old) matrix that resamples `old` points to `new` ones.

  Pixel centres are at halves (`align_corners=False` in PyTorch), but for
  'bilinear_corners', which is `scipy.ndimage.zoom` of order 1. Taps beyond
  the edge fall on the edge, or, where the kernel widens, are left out and the
  rest rescaled, as PyTorch and Pillow do.
  """
  kernel, reach, widens, corners = RESIZES[method]
  ratio = old / new
  stretch = max(ratio, 1.0) if widens else 1.0
  matrix = np.zeros((new, old))
  for row in range(new):
    centre = (row + 0.5) * ratio - 0.5
    if corners:
      centre = row * (old - 1) / max(new - 1, 1)
    first = int(np.floor(centre - reach * stretch))
    columns = np.arange(first, first + int(2 * reach * stretch) + 3)
    weights = kernel((columns - centre) / stretch)
    inside = (columns >= 0) & (columns < old)
    if widens:
      weights = np.where(inside, weights, 0.0)
    np.add.at(matrix[row], np.clip(columns, 0, old - 1), weights)
    matrix[row] /= matrix[row].sum()
  return matrix.astype(np.float32)


def resize_positions(
    positions: Float[Array, 'n d'],
    grid: tuple[int, ...],
    new: tuple[int, ...],
    method: str,
) -> Float[Array, 'm d']:
  """Learned positions of a `grid` ([times,] rows, columns) on a `new` one."""
  if grid == new:
    return positions
  table = positions.reshape(*grid, -1).astype(jnp.float32)
  for axis, (old, wanted) in enumerate(zip(grid, new, strict=True)):
    if old != wanted:
      matrix = resize_matrix(old, wanted, method)
      table = jnp.moveaxis(jnp.tensordot(
          matrix, table, (1, axis), precision=jax.lax.Precision.HIGHEST), 0,
          axis)
  return table.reshape(-1, table.shape[-1])


@functools.lru_cache(maxsize=8)
def sincos(count: int, width: int) -> np.ndarray:
  """Fixed positions (count, width) as VideoMAE has them.

  Tokens are counted through all times, rows and columns, as words of a text
  are; sines and cosines take turns, their periods up to 2 pi 10^4.
  """
  channel = np.arange(width)
  angle = np.arange(count)[:, None] / 1e4 ** (channel // 2 * 2 / width)
  return np.where(
      channel % 2, np.cos(angle), np.sin(angle)).astype(np.float32)


def rotary(
    grid: tuple[int, int], prefix: int, head_dim: int, base: float
) -> Callable[[Array], Array]:
  """Axial RoPE as in DINOv3: half the angles follow the row, half the column.

  Coordinates are patch centres scaled to [-1, 1] on each axis. The first
  `prefix` tokens have no place and are not turned, nor are more tokens than
  these that stand ahead of the patches. Takes (b, h, n, head_dim).
  Raises ValueError where `head_dim` is not a multiple of 4.
  """
  if head_dim % 4:
    raise ValueError(
        f'2-D rotary positions need heads of a multiple of 4 channels, not '
        f'{head_dim}: choose another number of heads')
  y, x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in grid)
  place = np.stack(np.meshgrid(y, x, indexing='ij'), -1).reshape(-1, 2)
  frequency = base ** -np.arange(0, 1, 4 / head_dim)
  angles = 2 * np.pi * place[:, :, None] * frequency
  angles = np.tile(angles.reshape(len(place), -1), 2)
  return _turning(_by_halves, angles, prefix)


def rotary_3d(
    grid: tuple[int, int, int], prefix: int, head_dim: int, base: float
) -> Callable[[Array], Array]:
  """RoPE of V-JEPA 2: time, row and column each turn a third of the channels.

  A third is the largest even number of channels of which three fit into a
  head; those left over are not turned. Places are counted from 0, and channels
  turn in neighbouring pairs. In the released code the two of a pair do not
  share a frequency (the frequencies of a third are laid over its channels
  twice, one after another), and the weights were trained with it: so here.
  Prefix tokens and further ones ahead are as in `rotary`.
  Raises ValueError where `head_dim` is odd or below 6.
  """
  if head_dim % 2 or head_dim < 6:
    raise ValueError(
        f'3-D rotary positions need heads of an even number of channels, 6 or '
        f'more, not {head_dim}: choose another number of heads')
  third = head_dim // 3 // 2 * 2
  frequency = np.tile(base ** -np.arange(0, 1, 2 / third), 2)
  place = np.stack(
      np.meshgrid(*map(np.arange, grid), indexing='ij'), -1).reshape(-1, 3)
  angles = (place[:, :, None] * frequency).reshape(len(place), -1)
  angles = np.pad(angles, ((0, 0), (0, head_dim - 3 * third)))
  return _turning(_by_pairs, angles, prefix)


def _turning(
    turn: Callable[[Array, Array, Array], Array], angles: np.ndarray,
    prefix: int,
) -> jax.tree_util.Partial:
  """`turn` by the angle of each token and channel; a tree of the tables."""
  angles = np.pad(angles, ((prefix, 0), (0, 0)))
  return jax.tree_util.Partial(
      turn, jnp.float32(np.cos(angles)), jnp.float32(np.sin(angles)))


def _by_halves(cos: Array, sin: Array, q: Array) -> Array:
  low, high = jnp.split(q, 2, axis=-1)
  return _turned(cos, sin, q, jnp.concatenate([-high, low], -1))


def _by_pairs(cos: Array, sin: Array, q: Array) -> Array:
  across = jnp.stack([-q[..., 1::2], q[..., ::2]], -1).reshape(q.shape)
  return _turned(cos, sin, q, across)


def _turned(cos: Array, sin: Array, q: Array, across: Array) -> Array:
  """q cos + across sin; tokens ahead of those of the tables stay."""
  more = ((q.shape[2] - len(cos), 0), (0, 0))
  cos, sin = jnp.pad(cos, more, constant_values=1.0), jnp.pad(sin, more)
  return (q * cos + across.astype(jnp.float32) * sin).astype(q.dtype)


# Ways to turn queries and keys: (grid, prefix, head_dim, base) -> rotate.
ROTARIES = {'rotary': rotary, 'rotary_3d': rotary_3d}
