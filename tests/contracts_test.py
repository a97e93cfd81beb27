"""What every entry of the tables of methods and side networks has to keep."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lst import (
    build,
    checkpoint,
    data,
    losses,
    method,
    report,
    sharding,
    step,
    train,
)
from lst.method import METHODS
from lst.side import SIDES
from tests import tiny
from tests.conftest import devices

D, N, L, C = tiny.VIT.width, tiny.TOKENS, tiny.VIT.depth, tiny.CLASSES
RANK, HEAD = 4, (tiny.VIT.width + 1) * tiny.CLASSES
HIDDEN, REDUCED = tiny.VIT.hidden, tiny.VIT.width // 8
# Of a bottleneck adapter with 8 channels; of LoRA's queries and values.
ADAPTER, LORA = 2 * 8 * D + 8 + D, 2 * 2 * 8 * D
BIASES = 3 * D + D + HIDDEN + D + 2 * D

# Trainable parameters of each; a new entry has to declare its own.
COUNTS = {
    # Channel mixers 0 and 2, token mixer 1, a gain each, and the head.
    'side-losa': 2 * 2 * D * RANK + 2 * N * RANK + L + HEAD,
    'side-linear': HEAD,
    # One query and one slice of the values for each head.
    'side-attentive': 12 * D + D * D + HEAD,
    # Queries, keys, values and output on every block but the last.
    'side-last': (L - 1) * 4 * D * RANK + HEAD,
    # Down, block, two gates; norm and up.
    'side-lst': L * (
        (D + 1) * REDUCED + 12 * REDUCED**2 + 13 * REDUCED) + L - 1
        + 2 * REDUCED + REDUCED * D + HEAD,
    'full': L * (
        4 * D * D + 2 * D * HIDDEN + BIASES + 2 * D) + 2 * D
        + (3 * 4 * 4 + 1) * D + N * D + HEAD,
    # Of each block; of the final norm and of the embedding of patches.
    'bitfit': L * BIASES + 2 * D + HEAD,
    'vpt': L * 10 * D + HEAD,
    'lora': L * LORA + HEAD,
    'adaptformer': L * ADAPTER + HEAD,
    'parallel': 2 * L * ADAPTER + HEAD,
    'sequential': 2 * L * ADAPTER + HEAD,
    # A scale for every shift, which stand where BitFit's biases do.
    'ssf': 2 * (L * BIASES + 2 * D) + HEAD,
    # Beside each of 2L layers: two products, a layer norm, a gain.
    'placed': 2 * L * (2 * D * 8 + 2 * D + 1) + HEAD,
}


# Prompts are random at first; tests/tuning_test.py has what they start as.
STARTS_ELSEWHERE = ('vpt',)
# Options that a method starts as the backbone with; the attentive probe starts
# as the mean of all normed tokens, whatever the pool.
OTHERWISE = {'side-lst': {'add_last': True}}
pytestmark = pytest.mark.devices(8)


# Of each way to adapt one method, for what is the same code for all.
shown = pytest.mark.parametrize(
    'case', [c for c in tiny.CASES
             if tiny.case_id(c) in ('side-losa', 'lora', 'placed')],
    ids=tiny.case_id, indirect=True)


class Case(NamedTuple):
  """One entry of the tables, built on 8 devices and on one."""

  name: str
  config: object
  eight: build.Built
  one: build.Built
  # (batch) -> `descended` on one device, from parameters at random.
  descend: Callable


@pytest.fixture(scope='module', params=tiny.CASES, ids=tiny.case_id)
def case(request, weights):
  config = tiny.config(weights, request.param)
  eight = train.build(config)
  with devices(1):
    one = train.build(config)
  assert (eight.mesh.size, one.mesh.size) == (8, 1)
  descend = functools.partial(
      jax.jit(functools.partial(descended, one.method.predict)),
      scrambled(one).params, one.frozen)
  return Case(tiny.case_id(request.param), config, eight, one, descend)


def steps(built, batch, count, state=None):
  """The state and the last sums after `count` steps on one batch."""
  state = tiny.copied(built.state if state is None else state)
  placed = sharding.put_batch(batch, built.mesh)
  for _ in range(count):
    state, sums = built.train_step(state, built.frozen, placed)
  return state, sums


def scrambled(built):
  """The state with random parameters: zeros would hide mistakes."""
  params = tiny.random_like(jax.device_get(built.state.params))
  params = jax.device_put(params, sharding.replicated(built.mesh))
  return built.state._replace(params=params)


def descended(predict, params, frozen, batch):
  """One step of plain descent, of length one, and the evaluation before it.

  It shows the gradients: Adam would blow the rounding of the smallest up.
  """
  optimizer = optax.sgd(1.0)
  state = step.TrainState(jnp.int32(0), params, optimizer.init(params))
  after, sums = step.train_step(
      state, frozen, batch, predict=predict, loss=losses.cross_entropy,
      optimizer=optimizer)
  scored = step.eval_step(
      params, frozen, batch, predict=predict, loss=losses.cross_entropy)
  return after.params, sums, scored


def assert_same_bits(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for (path, a), b in zip(
      jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes(), jax.tree_util.keystr(path)


def assert_close(ours, theirs, atol):
  for (path, a), b in zip(
      jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(
        a, b, rtol=1e-5, atol=atol, err_msg=jax.tree_util.keystr(path))


def without_key_bias(params):
  """The softmax of attention cancels what is added to every key: its gradient
  is rounding, and Adam makes whole steps of that.
  """
  def cut(path, x):
    name = jax.tree_util.keystr(path)
    if x.ndim == 1 and 'qkv' in name:
      q, _, v = np.split(x, 3)
      return np.concatenate([q, v])
    return x

  return jax.tree.map_with_path(cut, params)


def test_every_entry_of_the_tables_is_a_case():
  names = {tiny.case_id(c) for c in tiny.CASES}
  assert names == {f'side-{s}' for s in SIDES} | set(METHODS) - {
      'side', *tiny.OF_CLIPS}


def test_logits_start_at_zero(case, batch):
  built = case.eight
  state, frozen = built.state, built.frozen
  logits = jax.eval_shape(
      built.method.predict, state.params, frozen, batch.inputs)
  assert logits.shape == (tiny.EXAMPLES, C) and logits.dtype == jnp.float32
  for x in jax.tree.leaves(state.params['head']):
    np.testing.assert_array_equal(x, 0.0)
  sums = built.eval_step(
      state.params, frozen, sharding.put_batch(batch, built.mesh))
  assert float(sums.loss) == pytest.approx(
      tiny.EXAMPLES * np.log(C), rel=1e-6)


@pytest.mark.parametrize(
    'entry', [c for c in tiny.CASES if tiny.case_id(c) not in STARTS_ELSEWHERE],
    ids=tiny.case_id)
def test_starts_as_the_plain_backbone(entry, weights, backbone, batch):
  """With as many classes as channels, an identity head shows what it reads."""
  name, images = tiny.case_id(entry), jnp.asarray(batch.inputs)
  rows = {'mean': slice(None)}
  if entry in tiny.SIDE_CASES:
    # A side network may leave out what its pool does not read.
    rows |= {'cls': slice(0, 1), 'patches': slice(backbone.prefix, None)}

  @jax.jit
  def shown(frozen, images):
    out = {}
    for pool in rows:
      config = tiny.config(
          weights, entry, pool=pool, **OTHERWISE.get(name, {}))
      adapted = method.build(config, backbone, D)
      params = dict(adapted.init(jax.random.key(0), frozen, images))
      params['head'] = {'kernel': jnp.eye(D), 'bias': jnp.zeros(D)}
      out[pool] = adapted.predict(params, frozen, images)
    return out, backbone.apply(frozen, images)

  ours, x = shown(backbone.frozen, images)
  x = np.asarray(x, np.float64)
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
      x.var(-1, keepdims=True) + backbone.eps)
  norm = backbone.frozen['norm']
  x = x * np.asarray(norm['scale']) + np.asarray(norm['bias'])
  for pool in rows:
    read = rows['mean' if name == 'side-attentive' else pool]
    np.testing.assert_allclose(
        ours[pool], x[:, read].mean(1), rtol=1e-4, atol=1e-5, err_msg=pool)


def test_nothing_is_compiled_twice(case, batch):
  built = case.eight
  state, _ = steps(built, batch, 3)
  steps(built, tiny.batch(seed=1), 1, state)
  assert built.train_step._cache_size() == 1
  for seed in (0, 1):
    placed = sharding.put_batch(tiny.batch(seed), built.mesh)
    built.eval_step(built.state.params, built.frozen, placed)
    built.eval_step(state.params, built.frozen, placed)
  assert built.eval_step._cache_size() == 1
  if case.name == 'side-linear':
    # The count does see another program: that of a larger batch.
    larger = sharding.put_batch(tiny.batch(examples=16), built.mesh)
    built.eval_step(state.params, built.frozen, larger)
    assert built.eval_step._cache_size() == 2


def test_eight_devices_give_what_one_gives(case, batch):
  built, ours = case.eight, case.descend(batch)
  params = scrambled(built).params
  placed = sharding.put_batch(batch, built.mesh)
  theirs = jax.jit(functools.partial(descended, built.method.predict))(
      params, built.frozen, placed)
  scored = built.eval_step(params, built.frozen, placed)
  ours, theirs, params = jax.device_get((
      (ours, ours[2]), (theirs, scored), params))
  assert_close(ours, theirs, atol=2e-5)
  moved = jax.tree.map(
      lambda a, b: np.abs(a - b).max(), theirs[0][0], params)
  assert min(jax.tree.leaves(moved)) > 1e-6


@shown
def test_eight_devices_train_as_one_does(case, batch):
  """One loop takes the steps of all methods, whose gradients were compared."""
  one, eight = (
      jax.device_get(steps(built, batch, 3, scrambled(built)))
      for built in (case.one, case.eight))
  assert one[0].step == eight[0].step == 3
  assert_close(
      *(without_key_bias(x[0].params) for x in (one, eight)), atol=1e-3)
  assert_close(one[1], eight[1], atol=1e-3)


def saved_and_back(built, state, folder):
  """What a checkpoint gives back, which is what it was given."""
  checkpoints = checkpoint.manager(folder)
  position = data.Position(2, 0, 8, 100, 'train')
  checkpoint.save(checkpoints, state, position, 1.5, 0.25)
  checkpoints.wait_until_finished()
  back = checkpoint.restore(checkpoints, 2, built.state)
  checkpoints.close()
  assert_same_bits(back.state, state)
  assert (back.position, back.seconds) == (position, 1.5)
  return back


def test_a_checkpoint_gives_back_the_same_state(case, batch, tmp_path):
  built = case.eight
  state, _ = steps(built, batch, 2)
  back = saved_and_back(built, state, tmp_path)
  for a, b in zip(
      jax.tree.leaves(back.state), jax.tree.leaves(state), strict=True):
    assert a.sharding == b.sharding
  # And it goes on as if nothing had happened; the start is another state.
  assert_same_bits(
      steps(built, batch, 1, back.state), steps(built, batch, 1, state))
  with pytest.raises(AssertionError):
    assert_same_bits(built.state, state)


def test_a_step_takes_the_memory_of_its_state(case, batch):
  built = case.eight
  state, frozen = tiny.copied(built.state), built.frozen
  placed = sharding.put_batch(batch, built.mesh)
  if case.name == 'full':
    used = built.train_step.lower(
        state, frozen, placed).compile().memory_analysis()
    assert used.alias_size_in_bytes == sum(
        x.nbytes for x in jax.tree.leaves(state))
  built.train_step(state, frozen, placed)
  assert all(x.is_deleted() for x in jax.tree.leaves(state))
  assert not any(x.is_deleted() for x in jax.tree.leaves(frozen))


def test_as_many_parameters_as_declared(case):
  assert case.name in COUNTS, f'declare the parameters of {case.name}'
  assert report.count(case.one.state.params) == COUNTS[case.name]


def test_every_parameter_has_a_gradient(case, batch):
  before, (after, sums, _) = jax.device_get((
      scrambled(case.one).params, case.descend(batch)))
  # Of the sum over the batch; what has no gradient stays as it is to the bit.
  grads = jax.tree.map(lambda a, b: float(sums.count) * (a - b), before, after)
  for path, g in jax.tree.leaves_with_path(grads):
    assert np.abs(g).max() > 1e-6, jax.tree_util.keystr(path)


def test_the_loss_falls(case, batch):
  built = case.eight
  _, before = steps(built, batch, 1)
  _, after = steps(built, batch, 30)
  assert float(before.loss) == pytest.approx(
      tiny.EXAMPLES * np.log(C), rel=1e-5)
  assert float(after.loss) < 0.7 * float(before.loss)


def test_padding_changes_nothing(case, batch):
  mask = np.float32([1] * 5 + [0] * 3)
  zeros, noise = (filled(batch, rows) for rows in (
      jax.tree.map(np.zeros_like, batch), tiny.batch(seed=9)))
  expected = case.descend(zeros._replace(mask=mask))
  assert float(expected[1].count) == 5
  assert_close(
      case.descend(noise._replace(mask=mask)), expected, atol=2e-5)
  # Without the mask the same rows do change something.
  with pytest.raises(AssertionError):
    assert_close(case.descend(noise), expected, atol=2e-5)


@shown
def test_a_padded_batch_is_as_the_examples_alone(case, batch):
  """What the mask does to sums and gradients is in no method's hands."""
  mask = np.float32([1] * 5 + [0] * 3)
  alone = jax.tree.map(lambda x: x[:5], batch)
  padded = filled(batch, tiny.batch(seed=9))._replace(mask=mask)
  assert_close(case.descend(padded), case.descend(alone), atol=2e-5)


def filled(batch, rows):
  """The first five examples of one, the others of another."""
  return jax.tree.map(lambda x, y: np.concatenate([x[:5], y[5:]]), batch, rows)
