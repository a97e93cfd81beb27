"""Positions at other sizes, against forms that are known without PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from lst.backbones import positions
from lst.backbones.positions import RESIZES, resize_matrix, resize_positions

PAIRS = [(1, 4), (4, 1), (4, 4), (4, 6), (6, 4), (14, 16), (16, 5), (37, 16)]


@pytest.mark.parametrize('method', RESIZES)
@pytest.mark.parametrize('old, new', PAIRS)
def test_rows_sum_to_one(method, old, new):
  matrix = resize_matrix(old, new, method)
  assert matrix.shape == (new, old)
  np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize('method', RESIZES)
def test_equal_size_is_the_identity(method):
  np.testing.assert_allclose(resize_matrix(7, 7, method), np.eye(7), atol=1e-6)


@pytest.mark.parametrize('method', RESIZES)
@pytest.mark.parametrize('old, new', PAIRS)
def test_what_is_symmetric_stays_so(method, old, new):
  if (method, new) == ('bilinear_corners', 1):
    return  # one point has no corners to keep: it takes the first, as scipy
  matrix = resize_matrix(old, new, method)
  np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_values_worked_out_by_hand():
  np.testing.assert_allclose(resize_matrix(2, 4, 'bilinear'), [
      [1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], atol=1e-6)
  np.testing.assert_allclose(resize_matrix(2, 3, 'bilinear_corners'), [
      [1, 0], [0.5, 0.5], [0, 1]], atol=1e-6)
  # Twice as wide a triangle: weights 1, 3, 3, 1 of 8, cut off at the edge.
  np.testing.assert_allclose(resize_matrix(4, 2, 'bilinear_antialias'), [
      [3 / 7, 3 / 7, 1 / 7, 0], [0, 1 / 7, 3 / 7, 3 / 7]], atol=1e-6)
  # Keys' kernel, a = -0.75, a quarter and three quarters off a point.
  row = resize_matrix(8, 16, 'bicubic')[8]
  np.testing.assert_allclose(
      row[2:6], [-0.03515625, 0.26171875, 0.87890625, -0.10546875], atol=1e-6)


@pytest.mark.parametrize('old, new', PAIRS)
def test_antialiased_forms_equal_those_of_jax(old, new):
  x = np.random.default_rng(0).normal(size=(old, 3)).astype(np.float32)
  for ours, theirs in (('bilinear_antialias', 'linear'),
                       ('bicubic_antialias', 'cubic')):
    wanted = jax.image.resize(x, (new, 3), theirs, antialias=True)
    np.testing.assert_allclose(
        resize_matrix(old, new, ours) @ x, wanted, atol=1e-5)


@pytest.mark.parametrize('grid, new', [
    ((4, 4), (6, 6)), ((4, 4), (2, 5)), ((3, 5), (7, 4))])
def test_bilinear_corners_is_zoom_of_scipy_on_any_grid(grid, new):
  rng = np.random.default_rng(0)
  table = rng.normal(size=(*grid, 3)).astype(np.float32)
  zoom = (new[0] / grid[0], new[1] / grid[1], 1)
  wanted = scipy.ndimage.zoom(table, zoom, order=1)
  found = resize_positions(
      jnp.asarray(table.reshape(-1, 3)), grid, new, 'bilinear_corners')
  np.testing.assert_allclose(found, wanted.reshape(-1, 3), atol=1e-5)


def test_rows_and_columns_are_not_exchanged():
  table = jnp.repeat(jnp.arange(3.0), 4)[:, None]  # the row, on 3 x 4
  found = resize_positions(table, (3, 4), (3, 2), 'bilinear')
  np.testing.assert_allclose(found[:, 0], [0, 0, 1, 1, 2, 2], atol=1e-6)


def test_positions_at_their_own_size_are_untouched():
  table = jnp.ones((12, 2))
  assert resize_positions(table, (3, 4), (3, 4), 'bicubic') is table


def test_rotary_keeps_lengths_and_leaves_the_prefix():
  rng = np.random.default_rng(0)
  q = jnp.asarray(rng.normal(size=(1, 2, 3 + 6, 8)), jnp.float32)
  turned = positions.rotary((2, 3), prefix=3, head_dim=8, base=100.0)(q)
  np.testing.assert_array_equal(turned[:, :, :3], q[:, :, :3])
  assert np.abs(turned[:, :, 3:] - q[:, :, 3:]).max() > 0.1
  np.testing.assert_allclose(
      jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(q, axis=-1), rtol=1e-5)


def test_rotary_products_depend_on_the_distance_alone():
  rng = np.random.default_rng(0)
  q, k = (jnp.asarray(rng.normal(size=8), jnp.float32) for _ in range(2))
  rotate = positions.rotary((4, 4), prefix=0, head_dim=8, base=100.0)
  q, k = (rotate(jnp.broadcast_to(x, (1, 1, 16, 8)))[0, 0] for x in (q, k))
  scores = np.asarray(q @ k.T).reshape(4, 4, 4, 4)
  # One row down and two columns right, from two places.
  np.testing.assert_allclose(scores[0, 0, 1, 2], scores[2, 1, 3, 3], rtol=1e-4)
  assert abs(scores[0, 0, 1, 2] - scores[0, 0, 2, 1]) > 1e-3


def test_rotary_heads_are_of_fours():
  with pytest.raises(ValueError, match='multiple of 4 channels, not 6'):
    positions.rotary((2, 2), prefix=0, head_dim=6, base=100.0)


def test_rotary_angles_by_hand():
  """One patch below another: coordinates -1/2 and 1/2, the columns' 0."""
  rotate = positions.rotary((2, 1), prefix=0, head_dim=8, base=100.0)
  unit = jnp.zeros((1, 1, 2, 8)).at[..., 0].set(1).at[..., 1].set(1)
  found = rotate(unit)[0, 0]
  slow = 2 * np.pi * 0.5 * 100 ** -0.5
  cos, sin = np.cos([np.pi, slow]), np.sin([np.pi, slow])
  np.testing.assert_allclose(found[1], [*cos, 0, 0, *sin, 0, 0], atol=1e-6)
