"""What every entry of the tables that reads videos has to keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import data, method, report, sharding, train
from lst.data.video.clips import Ledger, Videos
from lst.data.video.sampling import Sampling
from lst.side import CLIP_SIDES
from lst.tuning import TUNINGS
from tests import contracts_test, tiny
from tests.backprop_free_test import MOST, lower, poisoned, shaped
from tests.contracts_test import (
    Case,
    quick_compiler,
    scrambled,
    test_a_checkpoint_gives_back_the_same_state,
    test_eight_devices_give_what_one_gives,
    test_every_parameter_has_a_gradient,
    test_logits_start_at_zero,
    test_nothing_is_compiled_twice,
    test_padding_changes_nothing,
    test_the_loss_falls,
)

# The same contracts, on the clips of the fixtures below.
__all__ = [
    'quick_compiler', 'test_a_checkpoint_gives_back_the_same_state',
    'test_eight_devices_give_what_one_gives',
    'test_every_parameter_has_a_gradient', 'test_logits_start_at_zero',
    'test_nothing_is_compiled_twice', 'test_padding_changes_nothing',
    'test_the_loss_falls']

T, D, N, L = 3, tiny.VIT.width, tiny.TOKENS, tiny.VIT.depth
RANK, HEAD, REDUCED = 4, contracts_test.HEAD, contracts_test.REDUCED
PATCHES = N - tiny.VIT.prefix

SIDE_CASES = [('side', name) for name in CLIP_SIDES]
# Of those that read frames one by one, as LoRA does, one stands for all.
CASES = [*SIDE_CASES, ('st_adapter', 'losa'), ('lora', 'losa')]
COUNTS = {
    'side-losa': 2 * RANK * (D + N + T) + L + HEAD,
    'side-linear': HEAD,
    # A number for each head and frame.
    'side-attentive': contracts_test.COUNTS['side-attentive'] + 12 * T,
    # Attention over time: its norm, and a vector for each frame.
    'side-lst': contracts_test.COUNTS['side-lst'] + L * (
        4 * REDUCED**2 + 6 * REDUCED + T * REDUCED),
    # Down; convolution, attention and MLP with their norms; places and norm.
    'side-side4video': L * (
        (D + 1) * REDUCED + 14 * REDUCED**2 + 21 * REDUCED)
        + (PATCHES + 2) * REDUCED + (REDUCED + 1) * tiny.CLASSES,
    'st_adapter': contracts_test.COUNTS['st_adapter'],
    'lora': contracts_test.COUNTS['lora'],
}
# Options under which the order of the frames makes no difference.
TIMELESS = {
    'side-losa': {'time_mixing': False}, 'side-linear': {},
    'side-attentive': {'time_mixing': False},
    'side-lst': {'time_mixing': False}, 'lora': {}}
SEES_ORDER = set(COUNTS) - {'side-linear', 'lora'}


def clips(seed=0, examples=tiny.EXAMPLES) -> data.Batch:
  """Random clips and labels, none of them padding."""
  rng = np.random.default_rng(seed)
  shape = examples, T, tiny.SIZE, tiny.SIZE, 3
  return data.Batch(
      rng.integers(0, 256, shape, np.uint8),
      rng.integers(0, tiny.CLASSES, examples, np.int32),
      np.ones(examples, np.float32))


def videos(_) -> data.Data:
  """Data of clips, where a config names some."""
  examples = [
      data.Example(x, int(y)) for x, y in zip(*clips()[:2], strict=True)]
  split = data.Split('train', examples, Videos(
      Sampling(T), Ledger('train', len(examples), 0.0)))
  return data.Data(
      split, None, split, tuple(map(str, range(tiny.CLASSES))), 'clips')


@pytest.fixture(scope='module', autouse=True)
def of_clips():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tiny, 'batch', clips)
    patch.setattr(data, 'build', videos)
    yield


@pytest.fixture(scope='module')
def batch():
  return clips()


@pytest.fixture(scope='module', params=CASES, ids=tiny.case_id)
def case(request, weights):
  config = tiny.config(weights, request.param)
  eight = train.build(config)
  with pytest.MonkeyPatch.context() as patch:
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    patch.setattr(sharding, 'make_mesh', lambda *_: mesh)
    one = train.build(config)
  assert (eight.mesh.size, one.mesh.size) == (8, 1)
  return Case(tiny.case_id(request.param), config, eight, one)


def test_what_reads_videos_is_a_case():
  assert {'side-losa', 'side-side4video', 'st_adapter'} <= set(COUNTS)
  assert set(COUNTS) == {tiny.case_id(c) for c in CASES}
  assert {name for name, _ in CASES} <= {'side', *TUNINGS}


def test_as_many_parameters_as_declared(case):
  assert report.count(case.one.state.params) == COUNTS[case.name]


def logits_of(config, backbone, params=None):
  """Of clips as they are, and played backwards."""
  adapted = method.build(config, backbone, tiny.CLASSES)
  inputs = jnp.asarray(clips().inputs)
  if params is None:
    params = tiny.random_like(jax.eval_shape(
        adapted.init, jax.random.key(0), backbone.frozen, inputs), scale=0.2)
  predict = jax.jit(adapted.predict)
  return [np.asarray(predict(params, backbone.frozen, x))
          for x in (inputs, inputs[:, ::-1])]


def test_the_order_of_the_frames_counts_where_it_should(
    case, weights, backbone):
  backbone = backbone._replace(frames=T)
  if case.name in SEES_ORDER:
    there, back = logits_of(case.config, backbone, scrambled(case.one).params)
    assert np.abs(there - back).max() > 0.01 * np.abs(there).max()
  if case.name in TIMELESS:
    entry = next(c for c in CASES if tiny.case_id(c) == case.name)
    there, back = logits_of(
        tiny.config(weights, entry, **TIMELESS[case.name]), backbone)
    np.testing.assert_allclose(there, back, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('entry, pool', [
    (('side', 'lst'), 'patches'), (('side', 'lst'), 'cls'),
    (('side', 'attentive'), 'mean'), (('st_adapter', 'losa'), 'patches'),
    (('lora', 'losa'), 'cls')], ids=str)
def test_starts_as_the_mean_of_the_frames(entry, pool, weights, backbone):
  """With as many classes as channels, an identity head shows what it reads."""
  backbone = backbone._replace(frames=T)
  config = tiny.config(weights, entry, pool=pool, add_last=True)
  adapted, images = method.build(config, backbone, D), clips().inputs
  params = jax.jit(adapted.init)(jax.random.key(0), backbone.frozen, images)
  params['head'] = {'kernel': jnp.eye(D), 'bias': jnp.zeros(D)}
  shown = jax.jit(adapted.predict)(params, backbone.frozen, images)

  frames = images.reshape(-1, *images.shape[2:])
  x = np.asarray(backbone.apply(backbone.frozen, frames), np.float64)
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
      x.var(-1, keepdims=True) + backbone.eps)
  norm = backbone.frozen['norm']
  x = x * np.asarray(norm['scale']) + np.asarray(norm['bias'])
  x = x.reshape(-1, T, N, D)[:, :, {
      'cls': slice(0, 1), 'mean': slice(None),
      'patches': slice(backbone.prefix, None)}[pool]]
  np.testing.assert_allclose(shown, x.mean((1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('entry', SIDE_CASES, ids=tiny.case_id)
def test_no_side_method_differentiates_the_backbone(entry, weights, backbone):
  adapted = method.build(
      tiny.config(weights, entry), poisoned(backbone._replace(frames=T)),
      tiny.CLASSES)
  lower(adapted, backbone.frozen, clips())


@pytest.mark.parametrize('entry', SIDE_CASES, ids=tiny.case_id)
def test_a_step_of_a_side_method_costs_hardly_more_than_forward(entry):
  config = tiny.config('', entry)
  backbone = shaped('S/16', 128, depth=3)._replace(frames=T)
  adapted = method.build(config, backbone, 10)
  shape = 1, T, *backbone.image_size, 3
  batch = data.Batch(
      jax.ShapeDtypeStruct(shape, jnp.uint8),
      jax.ShapeDtypeStruct(shape[:1], jnp.int32),
      jax.ShapeDtypeStruct(shape[:1], jnp.float32))
  forward = jax.jit(backbone.apply).lower(backbone.frozen, jax.ShapeDtypeStruct(
      shape[1:], jnp.uint8)).compile()
  trained = lower(adapted, backbone.frozen, batch).compile()
  ratio = report.flops(trained) / report.flops(forward)
  assert 0.99 < ratio <= MOST
