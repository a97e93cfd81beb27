"""What each form keeps of the features, and how exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import cache
from tests.cache import made


def through(form, data, rank=5, train=None):
  """The features that come back, what is stored, and the codebook."""
  taps = tuple(map(jnp.asarray, data))
  codebook = cache.fit(form, [train or taps], made.NORM, rank)
  stored = jax.jit(cache.encode)(taps, codebook)
  return jax.jit(cache.expand)(stored, codebook), stored, codebook


def f32(x):
  return np.asarray(x, np.float32)


@pytest.mark.parametrize('form', cache.FORMS)
@pytest.mark.parametrize('dtype', made.DTYPES)
def test_the_same_type_comes_back(form, dtype):
  data = made.taps(dtype)
  features, stored, _ = through(form, data)
  assert [(x.shape, x.dtype) for x in features.taps] == [
      (x.shape, x.dtype) for x in data]
  assert np.array_equal(features.norm.scale, made.NORM.scale)
  # A single token is as it was, whatever the form.
  assert np.array_equal(features.taps[2], data[2])
  assert np.array_equal(stored[2], data[2])


def test_exact_is_exact():
  data = made.taps('bfloat16')
  features, _, _ = through('exact', data)
  assert all(map(np.array_equal, features.taps, data))


@pytest.mark.parametrize('dtype', made.DTYPES)
def test_int8_is_within_half_a_step(dtype):
  data = made.taps(dtype)
  features, stored, codebook = through('int8', data)
  for back, kept, x, scale in zip(
      features.taps[:2], stored, data, codebook.scales, strict=False):
    assert kept.dtype == jnp.int8 and f32(kept).max() <= 127
    scale = f32(scale)
    assert np.allclose(scale, np.abs(f32(x)).max((0, 1)) / 127, rtol=2**-8)
    rounding = 2.0**-8 * np.abs(f32(x)) if dtype == 'bfloat16' else 1e-6
    assert (np.abs(f32(back) - f32(x)) <= scale * 0.51 + rounding).all()
    # And not better than it can be: something was kept in 8 bits.
    assert np.abs(f32(back) - f32(x)).max() > scale.min() * 0.2


def test_int8_clips_what_training_did_not_hold():
  data = made.taps()
  _, stored, codebook = through(
      'int8', [4 * x for x in data], train=tuple(map(jnp.asarray, data)))
  assert f32(stored[0]).max() == 127 and f32(stored[0]).min() == -127
  top = f32(cache.expand(stored, codebook).taps[0]).max((0, 1))
  assert (top <= np.abs(data[0]).max((0, 1)) * 1.001).all()


def test_a_silent_channel_stays_silent():
  data = [np.zeros((4, 3, 2), np.float32)]
  features, _, _ = through('int8', data)
  assert not f32(features.taps[0]).any()


def test_projected_is_exact_inside_the_span():
  rng = np.random.default_rng(0)
  span = rng.normal(size=(5, made.WIDTH))
  inside = (rng.normal(size=(30, made.TOKENS, 5)) @ span).astype(np.float32)
  features, stored, codebook = through('projected', [inside])
  # Of the last tap, two rows are kept whole behind the coefficients.
  assert stored[0].shape == (30, 1, made.TOKENS * 5 + 2 * made.WIDTH)
  assert np.allclose(features.taps[0], inside, atol=1e-5)
  basis = codebook.bases[0]
  assert np.allclose(basis @ basis.T, np.eye(5), atol=1e-6)


@pytest.mark.parametrize('dtype, rtol', [('float32', 1e-5), ('bfloat16', 1e-2)])
def test_a_down_projection_inside_the_span_meets_what_it_would_have(
    dtype, rtol):
  data = made.taps(dtype)
  features, stored, codebook = through('projected', data)
  a = np.random.default_rng(1).normal(size=(5, 3))
  basis = f32(codebook.bases[0])
  wanted = f32(data[0]) @ basis.T @ a
  error = np.abs(f32(data[0]) - f32(features.taps[0]))
  assert error.max() > 20 * rtol, 'the features are not in the span'
  size = np.abs(wanted).max()
  for got in (f32(stored[0]) @ a, f32(features.taps[0]) @ basis.T @ a):
    assert np.abs(got - wanted).max() < rtol * size


def test_projected_leaves_the_smallest_squared_error():
  data = made.taps()
  features, _, _ = through('projected', data)
  tokens = data[0].reshape(-1, made.WIDTH).astype(np.float64)
  least = np.linalg.svd(tokens, compute_uv=False)[5:]
  error = f32(features.taps[0]) - data[0]
  assert np.isclose((error**2).sum(), (least**2).sum(), rtol=1e-4)


@pytest.mark.parametrize('dtype, atol', [('float32', 1e-5), ('bfloat16', 0.03)])
def test_projected_keeps_what_a_probe_reads_of_the_last_tap(dtype, atol):
  data = made.taps(dtype)[:2]
  features, stored, _ = through('projected', data, rank=2)
  assert stored[0].shape == (*data[0].shape[:2], 2)
  for back, x, kept in zip(features.taps, data, (False, True), strict=True):
    error = np.abs(f32(back) - f32(x))
    assert error.mean() > 5 * atol, 'two directions should not do'
    assert np.array_equal(back[:, 0], x[:, 0]) == kept
    close = np.abs(f32(back).mean(1) - f32(x).mean(1)).max() < atol
    assert close == kept
  # The other tokens all move alike: what tells them apart is projected.
  moved = f32(features.taps[1])[:, 1:] - f32(
      through('projected', data[1:] + data[:1], rank=2)[0].taps[0])[:, 1:]
  assert np.ptp(moved, axis=1).max() < atol


def test_moments_of_batches_add_up():
  data = tuple(map(jnp.asarray, made.taps()))
  whole = cache.fit('projected', [data], None, 5)
  parts = cache.fit(
      'projected', [tuple(x[i:i + 10] for x in data) for i in range(0, 37, 10)],
      None, 5)
  assert np.allclose(whole.bases[0], parts.bases[0], atol=1e-4)
  whole = cache.fit('int8', [data])
  parts = cache.fit('int8', [tuple(x[i::2] for x in data) for i in range(2)])
  assert np.array_equal(whole.scales[1], parts.scales[1])


@pytest.mark.parametrize('rank', [made.WIDTH, 10**6])
def test_all_directions_are_kept_as_they_are(rank):
  data = made.taps('bfloat16')
  features, _, codebook = through('projected', data, rank)
  assert codebook.bases == (None, None, None)
  assert all(map(np.array_equal, features.taps, data))


@pytest.mark.parametrize('form, batches, rank, message', [
    ('int9', [], 0, "form='int9' is none of exact, int8, projected"),
    ('int8', [], 0, 'no training features'),
    ('projected', [], 4, 'no training features'),
    ('projected', [], 0, 'set config.cache.rank to 1 or more'),
    ('int8', [(jnp.full((1, 2, 3), jnp.nan),)], 0, 'no finite numbers'),
    ('projected', [(jnp.full((1, 2, 3), jnp.inf),)], 2, 'no finite numbers'),
])
def test_what_cannot_be_is_told(form, batches, rank, message):
  with pytest.raises(cache.CacheError, match=message):
    cache.fit(form, batches, None, rank)
