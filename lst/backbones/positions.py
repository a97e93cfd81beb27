"""Where a patch is: learned positions on any grid, and 2-D rotary ones."""

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
    grid: tuple[int, int],
    new: tuple[int, int],
    method: str,
) -> Float[Array, 'm d']:
  """Learned positions of a `grid` (rows, columns), resampled to a `new` one."""
  if grid == new:
    return positions
  table = positions.reshape(*grid, -1).astype(jnp.float32)
  rows = resize_matrix(grid[0], new[0], method)
  columns = resize_matrix(grid[1], new[1], method)
  table = jnp.einsum(
      'Hh,Ww,hwd->HWd', rows, columns, table,
      precision=jax.lax.Precision.HIGHEST)
  return table.reshape(new[0] * new[1], -1)


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
  angles = np.concatenate([np.zeros((prefix, head_dim)), angles])
  cos, sin = jnp.float32(np.cos(angles)), jnp.float32(np.sin(angles))

  def rotate(q: Array) -> Array:
    more = ((q.shape[2] - len(angles), 0), (0, 0))
    turn, cross = jnp.pad(cos, more, constant_values=1.0), jnp.pad(sin, more)
    low, high = jnp.split(q.astype(jnp.float32), 2, axis=-1)
    turned = q * turn + jnp.concatenate([-high, low], -1) * cross
    return turned.astype(q.dtype)

  return rotate
