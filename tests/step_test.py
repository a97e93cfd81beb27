"""One step: a batch in parts is the batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lst import build, losses, sharding, step, train
from tests import runs, tiny


@pytest.fixture(scope='module')
def built(weights):
  return build.build(tiny.config(weights))


def stepped(built, batch, **how):
  """A step of plain descent from random parameters."""
  params = tiny.random_like(jax.device_get(built.state.params))
  optimizer = optax.sgd(1.0)
  state = step.TrainState(jnp.int32(0), params, optimizer.init(params))
  run = jax.jit(functools.partial(
      step.train_step, predict=built.predict, loss=losses.cross_entropy,
      optimizer=optimizer, **how))
  state, sums = run(state, built.frozen, batch)
  return jax.device_get((state.params, sums)), run, state


def assert_close(ours, theirs):
  jax.tree.map(functools.partial(
      np.testing.assert_allclose, rtol=1e-5, atol=2e-5), ours, theirs)


@pytest.mark.parametrize('parts', [2, 4, 16])
def test_parts_add_up_to_the_batch(built, parts):
  batch = tiny.batch(examples=16)
  # Padding is spread unevenly: the mean is over examples, not over parts.
  batch = batch._replace(mask=np.float32([1] * 5 + [0] * 8 + [1] * 3))
  whole, *_ = stepped(built, batch)
  ours, *_ = stepped(built, batch, parts=parts)
  assert whole[1].count == ours[1].count == 8
  assert_close(ours, whole)


@pytest.mark.as_users
@pytest.mark.devices(8)
def test_parts_of_a_batch_on_eight_devices(weights):
  built = build.build(tiny.config(weights))
  batch = tiny.batch(examples=32)
  whole, *_ = stepped(built, batch)
  placed = sharding.put_batch(batch, built.mesh)
  assert built.mesh.size == 8
  ours, run, state = stepped(built, placed, parts=4, shards=8)
  assert_close(ours, whole)
  # No image leaves its device to be in a part.
  text = run.lower(state, built.frozen, placed).compile().as_text()
  gathered = [line for line in text.splitlines() if ' all-gather(' in line
              or ' all-to-all(' in line]
  assert not [line for line in gathered if 'u8[' in line]


@pytest.mark.as_users
def test_parts_take_less_memory(built):
  def scratch(parts):
    run = functools.partial(
        step.train_step, predict=built.predict, loss=losses.cross_entropy,
        optimizer=built.optimizer, parts=parts)
    batch = tiny.batch(examples=256)
    return jax.jit(run).lower(
        built.state, built.frozen, batch).compile().memory_analysis(
        ).temp_size_in_bytes

  assert scratch(16) < 0.2 * scratch(1)


def test_a_run_in_micro_batches_is_the_same(weights, tmp_path):
  results = []
  for microbatch in (0, 4):
    config = runs.config(weights, epochs=2.0, microbatch=microbatch)
    config.cache.mode = 'off'
    results.append(train.run(config, tmp_path / str(microbatch)))
  whole, parts = results
  assert parts['test_loss'] == pytest.approx(whole['test_loss'], rel=1e-4)
  # Products of weights alone are made for each part.
  few, one = (x['flops_step_over_forward'] for x in (parts, whole))
  assert one < few < 1.002 * one
  assert parts['config']['train.microbatch'] == 4


def test_a_bad_seed_is_told(weights):
  config = runs.config(weights)
  config.seed = -3
  with pytest.raises(ValueError, match=r'config\.seed=-3 has to be 0 or more'):
    build.build(config)


@pytest.mark.devices(8)
@pytest.mark.parametrize('microbatch, words', [
    (-1, '0 .the whole'), (12, 'multiple of 8'), (24, 'does not divide')])
def test_bad_sizes_are_told(weights, microbatch, words):
  with pytest.raises(ValueError, match=words):
    build.build(runs.config(
        weights, batch_size=64, eval_batch_size=64, microbatch=microbatch))
