"""The forms of taps: the same numbers, less memory, no backprop."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import config as config_lib
from lst import losses, method, taps, train
from lst.backbones import backbone as backbones
from lst.data import Batch
from lst.plan import flops
from lst.side import CLIP_SIDES, SIDES, LowRank, low_rank, reading
from tests import contracts_test, tiny
from tests.backprop_free_test import lower, poisoned, shaped
from tests.conftest import devices

T = 3
# Those that read more than the last tap.
IMAGES = [name for name, make in SIDES.items()
          if make(config_lib.default().side).stream()]
CLIPS = ['losa', 'lst', 'side4video']


@pytest.fixture(scope='module')
def stack(weights):
  config = tiny.config(weights).backbone
  config.blocks = 'scan'
  return backbones.build(config)


@pytest.fixture(scope='module')
def clips():
  rng = np.random.default_rng(0)
  shape = 4, T, tiny.SIZE, tiny.SIZE, 3
  return Batch(
      rng.integers(0, 256, shape, np.uint8),
      rng.integers(0, tiny.CLASSES, 4, np.int32), np.ones(4, np.float32))


def gradients(adapted, backbone, batch):
  """Logits and gradients at random parameters."""
  def total(params, frozen, batch):
    logits = adapted.predict(params, frozen, batch.inputs)
    return losses.cross_entropy(logits, batch.label).sum(), logits

  params = tiny.random_like(jax.eval_shape(
      adapted.init, jax.random.key(0), backbone.frozen, batch.inputs))
  return jax.jit(jax.grad(total, has_aux=True))(
      params, backbone.frozen, jax.tree.map(jnp.asarray, batch))


def under(keep, weights, backbone, batch, name, **side):
  config = tiny.config(weights, ('side', name), keep=keep, **side)
  adapted = method.build(config, backbone, tiny.CLASSES)
  assert (adapted.extract is None) == (keep != 'exact')
  return gradients(adapted, backbone, batch)


def distance(ours, theirs):
  """The largest difference of any leaf, beside its own largest value."""
  return max(
      float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(
          jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))


def apart(ours, theirs):
  """The norm of the difference of all leaves beside that of them all."""
  def norm(tree):
    return float(jnp.sqrt(sum(jnp.sum(x * x) for x in jax.tree.leaves(tree))))

  return norm(jax.tree.map(jnp.subtract, ours, theirs)) / norm(theirs)


def test_the_sides_with_several_taps_are_cases():
  assert IMAGES == ['losa', 'lst', 'last']
  assert set(CLIPS) <= set(CLIP_SIDES)


@pytest.mark.parametrize('name', IMAGES)
def test_not_kept_equals_kept(name, weights, backbone, stack, batch):
  exact = under('exact', weights, backbone, batch, name)
  others = stack,
  if name == 'losa':
    config = tiny.config(weights).backbone
    config.blocks = 'host'
    others = stack, backbone, backbones.build(config)
  for other in others:
    assert distance(
        under('none', weights, other, batch, name), exact) < 2e-5
    # Each number of a tap is within half a 127th of the largest of its token;
    # the softmax of random scores makes that more.
    rough = under('int8', weights, other, batch, name)
    assert 1e-5 < apart(rough, exact) < (0.15 if name == 'last' else 0.02)


@pytest.mark.parametrize('name', CLIPS)
def test_not_kept_equals_kept_of_clips(name, weights, backbone, stack, clips):
  backbone, stack = (b._replace(frames=T) for b in (backbone, stack))
  exact = under('exact', weights, backbone, clips, name)
  assert distance(under('none', weights, stack, clips, name), exact) < 2e-5
  if name != 'lst':
    rough = under('int8', weights, stack, clips, name)
    assert 1e-5 < apart(rough, exact) < 0.02


@pytest.mark.parametrize('options', [
    {'residual': 'figure', 'skip': 1}, {'residual': 'sum', 'tap_norm': True},
    {'tap_norm': True, 'use_bias': True}],
    ids=str)
def test_options_of_losa(options, weights, backbone, stack, batch):
  exact = under('exact', weights, backbone, batch, 'losa', **options)
  assert distance(
      under('none', weights, stack, batch, 'losa', **options), exact) < 2e-5


@pytest.mark.parametrize('residual', low_rank.RESIDUALS)
def test_the_last_tap_is_read_as_it_is(residual, backbone, batch):
  """However large the sum of all taps is that stands there in 8 bits."""
  side, images = LowRank(4, residual=residual), jnp.asarray(batch.inputs)
  prepared = side.prepare(backbones.extractor(backbone)(
      backbone.frozen, images)).taps
  reads = tuple(
      reading.Read(tiny.normal(4, backbone.width, seed=k)) for k in range(3))
  found, last = jax.jit(lambda frozen, images: taps.features(
      'int8', backbone, side.stream())(frozen, images).reader(reads))(
          backbone.frozen, images)
  np.testing.assert_allclose(last, prepared[-1], rtol=1e-5, atol=1e-5)
  wanted = [reading.of_tap(x, r) for x, r in zip(prepared, reads, strict=True)]
  assert distance(found[-1], wanted[-1]) < 1e-5
  assert 1e-4 < distance(found[0], wanted[0]) < 0.02


def test_int8_is_within_half_a_step():
  tap = jax.random.normal(jax.random.key(0), (2, 5, 64))
  tap = tap.at[0, 0].mul(100.0).at[1].set(0.0)
  kept = taps.rounded(tap)
  error = jnp.abs(taps.restored(kept, jnp.float32) - tap)
  assert kept.values.dtype == jnp.int8
  assert (error <= kept.scale / 2 * (1 + 1e-5)).all()
  # One large token makes no other coarse.
  assert kept.scale[0, 1:].max() < kept.scale[0, 0].min() / 20


@pytest.mark.parametrize('keep', sorted(taps.KEPT))
def test_no_form_differentiates_the_backbone(keep, weights, backbone, batch):
  config = tiny.config(weights, ('side', 'losa'), keep=keep)
  adapted = method.build(config, poisoned(backbone), tiny.CLASSES)
  lower(adapted, backbone.frozen, batch)


@pytest.mark.parametrize('keep, passes', [('int8', 1), ('none', 2)])
def test_a_step_takes_as_many_passes_as_declared(keep, passes):
  config = config_lib.default()
  config.side.keep = keep
  backbone = shaped('S/16', 128, depth=3)
  adapted = method.build(config, backbone, 10)
  images = jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.uint8)
  params = jax.eval_shape(
      adapted.init, jax.random.key(0), backbone.frozen, images)
  forward = flops.count(backbone.apply, backbone.frozen, images)

  def total(params, frozen, images):
    return adapted.predict(params, frozen, images).sum()

  counted = flops.count(jax.grad(total), params, backbone.frozen, images)
  assert passes < counted / forward <= passes + 0.1
  # And compiled: nothing of the second pass is taken from the first.
  compiled = jax.jit(jax.grad(total)).lower(
      params, backbone.frozen, images).compile()
  once = jax.jit(backbone.apply).lower(backbone.frozen, images).compile()
  ratio = compiled.cost_analysis()['flops'] / once.cost_analysis()['flops']
  assert passes - 0.1 < ratio <= passes + 0.1


def test_states_in_other_orders_are_refused(weights, backbone):
  config = tiny.config(weights, ('side', 'losa'), keep='none', taps=(3, 6))
  with pytest.raises(ValueError, match=r'config\.side\.taps'):
    method.build(config, backbone, tiny.CLASSES)
  config = tiny.config(weights, ('side', 'losa'), keep='groups')
  with pytest.raises(ValueError, match='exact, int8, none'):
    method.build(config, backbone, tiny.CLASSES)


def test_a_run_ends_as_with_kept_taps(weights, tmp_path):
  """Through the loop: micro-batches, checkpoints, evaluation, no cache."""
  results = {}
  for keep, micro in (('exact', 0), ('none', 8)):
    config = tiny.config(weights, ('side', 'losa'), keep=keep)
    config.data.train, config.data.test = 'train[:32]', 'test[:16]'
    config.train.batch_size, config.train.microbatch = 16, micro
    config.cache.mode, config.optimizer.lr = 'auto', 1e-4
    results[keep] = train.run(config, tmp_path / keep)
  ours, theirs = results['none'], results['exact']
  assert ours['test_loss'] == pytest.approx(theirs['test_loss'], rel=1e-4)
  assert 1.9 < ours['flops_step_over_forward'] < 2.5


@pytest.mark.devices(8)
@pytest.mark.parametrize('keep', sorted(taps.KEPT))
def test_eight_devices_one_program_and_a_checkpoint(
    keep, weights, batch, tmp_path):
  built = train.build(tiny.config(weights, ('side', 'losa'), keep=keep))
  assert built.mesh.size == 8
  start = contracts_test.scrambled(built)
  state, _ = contracts_test.steps(built, batch, 2, start)
  contracts_test.steps(built, tiny.batch(seed=1), 1, state)
  assert built.train_step._cache_size() == 1
  with devices(1):
    one = train.build(tiny.config(weights, ('side', 'losa'), keep=keep))
  alone, _ = contracts_test.steps(
      one, batch, 2, contracts_test.scrambled(one))
  contracts_test.assert_close(
      *jax.device_get((state.params, alone.params)), atol=1e-3)
  contracts_test.saved_and_back(built, state, tmp_path)


def test_the_start_is_the_plain_backbone(weights, stack, batch):
  """As `contracts_test` has it for taps that are kept."""
  shown = {}
  for keep in taps.FORMS:
    config = tiny.config(weights, ('side', 'losa'), keep=keep, pool='cls')
    adapted = method.build(config, stack, stack.width)
    params = adapted.init(jax.random.key(0), stack.frozen, batch.inputs)
    params['head'] = {
        'kernel': jnp.eye(stack.width), 'bias': jnp.zeros(stack.width)}
    shown[keep] = jax.jit(adapted.predict)(
        params, stack.frozen, jnp.asarray(batch.inputs))
  for keep in taps.KEPT:
    np.testing.assert_allclose(
        shown[keep], shown['exact'], rtol=1e-4, atol=1e-5)


def names(tree):
  return sorted(flax.traverse_util.flatten_dict(tree, sep='/'))


def test_parameters_are_the_same_under_every_form(weights, backbone, batch):
  made = [
      method.build(
          tiny.config(weights, ('side', 'lst'), keep=keep), backbone,
          tiny.CLASSES).init(
              jax.random.key(0), backbone.frozen, batch.inputs)
      for keep in taps.FORMS]
  assert names(made[0]) == names(made[1]) == names(made[2])
  same = functools.partial(np.testing.assert_array_equal)
  jax.tree.map(same, *made[:2])
  jax.tree.map(same, made[0], made[2])
