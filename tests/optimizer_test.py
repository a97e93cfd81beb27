"""The schedule, the optimizer, losses and metrics, against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lst import config, losses, metrics, optimizer


def options(**fields):
  out = config.default().optimizer
  out.update(fields)
  return out


def test_schedule_warms_up_peaks_and_ends_at_zero():
  rate = optimizer.schedule(options(lr=0.5, warmup_epochs=2.0), 100, 10.0)
  assert rate(0) == 0.0
  np.testing.assert_allclose(rate(10), 0.25)
  np.testing.assert_allclose(rate(20), 0.5)
  np.testing.assert_allclose(rate(60), 0.25, rtol=1e-5)  # half of a cosine
  np.testing.assert_allclose(rate(100), 0.0, atol=1e-7)
  assert rate(99) > 0


def test_schedule_without_warm_up_begins_at_the_peak():
  rate = optimizer.schedule(options(lr=0.5, warmup_epochs=0.0), 10, 5.0)
  np.testing.assert_allclose([rate(0), rate(10)], [0.5, 0.0], atol=1e-7)


@pytest.mark.parametrize('steps', [1, 2, 5])
def test_warm_up_longer_than_the_run_still_reaches_the_peak(steps):
  rate = optimizer.schedule(options(lr=0.5, warmup_epochs=99.0), steps, 10.0)
  np.testing.assert_allclose(rate(steps - 1), 0.5)
  assert all(0 <= rate(i) <= 0.5 for i in range(steps))


@pytest.mark.parametrize('steps', [2, 20])
def test_a_run_that_never_leaves_its_warm_up_is_refused(steps):
  with pytest.raises(ValueError, match=r'warmup_epochs=2\.0 is not over'):
    optimizer.build(options(warmup_epochs=2.0), steps, 10.0)
  optimizer.build(options(warmup_epochs=2.0), 21, 10.0)


def updates(gradients, steps=20, **fields):
  """The parameter after these gradients, one a step."""
  chosen = options(lr=0.1, warmup_epochs=0.0, weight_decay=0.0, **fields)
  update = optimizer.build(chosen, steps, 10.0)
  param = jnp.array(1.0)
  state = update.init(param)
  for gradient in gradients:
    change, state = update.update(jnp.array(gradient), state, param)
    param = optax.apply_updates(param, change)
  return float(param)


def test_weight_decay_pulls_to_zero_without_a_gradient():
  update = optimizer.build(
      options(lr=0.1, warmup_epochs=0.0, weight_decay=0.5), 20, 10.0)
  param = jnp.array(1.0)
  change, _ = update.update(jnp.array(0.0), update.init(param), param)
  np.testing.assert_allclose(change, -0.1 * 0.5, rtol=1e-6)


def test_accumulated_gradients_are_averaged():
  two = updates([1.0, 3.0, 0.0, -8.0], accumulate=2, steps=40)
  np.testing.assert_allclose(two, updates([2.0, -4.0]), rtol=1e-6)
  assert updates([1.0], accumulate=2) == 1.0


def test_clipping_bounds_the_norm():
  clipped = updates([300.0, 1.0], clip_norm=1.0)
  np.testing.assert_allclose(clipped, updates([1.0, 1.0]), rtol=1e-6)
  assert abs(clipped - updates([300.0, 1.0])) > 1e-2


@pytest.mark.parametrize(('field', 'value'), [
    ('lr', 0.0), ('lr', -1.0), ('accumulate', 0), ('accumulate', 21),
    ('warmup_epochs', -1.0), ('weight_decay', -1e-4), ('b1', 1.0), ('b2', -0.1),
    ('clip_norm', -1.0), ('label_smoothing', 1.0), ('lr', float('nan'))])
def test_numbers_that_cannot_be_are_refused_by_name(field, value):
  with pytest.raises(ValueError, match=f'config.optimizer.{field}={value}'):
    optimizer.build(options(**{field: value}), 20, 10.0)


def test_cross_entropy_is_that_of_the_softmax():
  logits = jnp.array([[0.0, 1.0, 2.0], [100.0, -100.0, 0.0]])
  labels = jnp.array([2, 1])
  log = np.log(np.exp([0.0, 1.0, 2.0]).sum())
  np.testing.assert_allclose(
      losses.cross_entropy(logits, labels), [log - 2, 200], rtol=1e-6)


def test_label_smoothing_moves_mass_to_every_class():
  logits = jnp.array([[0.0, 1.0, 2.0]])
  log = np.log(np.exp([0.0, 1.0, 2.0]).sum())
  # 0.3 of the mass is spread over the three classes, the label's among them.
  want = 0.8 * (log - 2) + 0.1 * (log - 1) + 0.1 * log
  got = losses.cross_entropy(logits, jnp.array([2]), smoothing=0.3)
  np.testing.assert_allclose(got, [want], rtol=1e-6)


def test_sums_leave_padding_out_and_add_up():
  logits = jnp.array([[2.0, 1.0], [0.0, 3.0], [5.0, 0.0], [1.0, 0.0]])
  labels = jnp.array([0, 0, 1, 0])
  values = jnp.array([1.0, 2.0, 4.0, 8.0])
  first = metrics.sums(values, logits, labels, jnp.array([1.0, 1.0, 0.0, 0.0]))
  second = metrics.sums(values, logits, labels, jnp.array([0.0, 0.0, 1.0, 1.0]))
  assert jax.device_get(first) == metrics.Sums(3.0, 1.0, 2.0)
  assert (first.on_host() + second.on_host()).means() == {
      'loss': 15 / 4, 'accuracy': 2 / 4}


def test_sums_of_nothing_have_no_mean():
  means = metrics.Sums().means()
  assert np.isnan(means['loss']) and np.isnan(means['accuracy'])


def test_sums_on_the_host_count_past_single_precision():
  total = metrics.Sums(0.0, 0.0, np.float64(2**24))
  one = metrics.Sums(*(jnp.ones(()) for _ in range(3))).on_host()
  assert (total + one).count == 2**24 + 1
