"""What every entry of the tables that reads videos has to keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import data, losses, method, report, sharding
from lst.backbones import backbone as backbones
from lst.backbones.frozen import of_clips as on_clips
from lst.backbones.layers import layer_norm
from lst.side import CLIP_SIDES
from lst.tuning import TUNINGS
from tests import contracts_test, tiny
from tests.backprop_free_test import MOST, lower, poisoned, shaped

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
    # 384 channels, a kernel of 3 frames, biases.
    'st_adapter': 2 * L * (2 * D * 384 + (3 + 2) * 384 + D) + HEAD,
    'lora': contracts_test.COUNTS['lora'],
}
# To these a clip played backwards is the same clip.
TIMELESS = ('side-linear', 'lora')
# Whose tokens of several frames go through one product.
SPLIT = ('side-side4video', 'st_adapter')
pytestmark = pytest.mark.devices(8)


@pytest.fixture(scope='module')
def batch():
  """Random clips and labels, none of them padding."""
  rng = np.random.default_rng(0)
  shape = tiny.EXAMPLES, T, tiny.SIZE, tiny.SIZE, 3
  return data.Batch(
      jnp.asarray(rng.integers(0, 256, shape, np.uint8)),
      jnp.asarray(rng.integers(0, tiny.CLASSES, tiny.EXAMPLES, np.int32)),
      jnp.ones(tiny.EXAMPLES))


@pytest.fixture(scope='module')
def of_clips(backbone):
  return backbone._replace(frames=T)


@pytest.fixture(scope='module')
def of_tubelets(tmp_path_factory):
  """Takes clips of four frames whole; its CLS token is left out."""
  vit = tiny.CLIP_VIT.clone(prefix=1, position='rotary_3d')
  path = tiny.write(tmp_path_factory.mktemp('tubelets'), vit)
  return on_clips(
      backbones.build(tiny.config(str(path)).backbone), 2 * vit.tubelet)


def test_what_reads_videos_is_a_case():
  assert set(COUNTS) == {tiny.case_id(c) for c in CASES}
  assert {name for name, _ in CASES} <= {'side', *TUNINGS}


@pytest.mark.parametrize('entry', CASES, ids=tiny.case_id)
def test_parameters_gradients_and_the_order_of_frames(
    entry, weights, of_clips, batch):
  adapted = method.build(
      tiny.config(weights, entry), of_clips, tiny.CLASSES)
  shapes = jax.eval_shape(
      adapted.init, jax.random.key(0), of_clips.frozen, batch.inputs)
  name = tiny.case_id(entry)
  assert report.count(shapes) == COUNTS[name]

  def total(params, frozen, batch):
    logits = adapted.predict(params, frozen, batch.inputs)
    return losses.cross_entropy(logits, batch.label).sum(), logits

  grad = jax.jit(jax.grad(total, has_aux=True))
  params = tiny.random_like(shapes)
  ours, logits = grad(params, of_clips.frozen, batch)
  assert logits.shape == (tiny.EXAMPLES, tiny.CLASSES)
  for path, g in jax.tree.leaves_with_path(ours):
    assert np.abs(g).max() > 1e-6, jax.tree_util.keystr(path)
  _, back = grad(params, of_clips.frozen, batch._replace(
      inputs=batch.inputs[:, ::-1]))
  moved = np.abs(logits - back).max() / np.abs(logits).max()
  assert moved < 1e-5 if name in TIMELESS else moved > 2e-4
  if name in SPLIT:
    placed = sharding.put_batch(
        jax.tree.map(np.asarray, batch), sharding.make_mesh())
    theirs, _ = grad(params, of_clips.frozen, placed)
    contracts_test.assert_close(ours, theirs, atol=2e-4)


@pytest.mark.parametrize('entry, pool', [
    (('side', 'lst'), 'patches'), (('side', 'attentive'), 'mean'),
    (('st_adapter', 'losa'), 'patches')], ids=str)
def test_starts_as_the_mean_of_the_frames(
    entry, pool, weights, of_clips, batch):
  """With as many classes as channels, an identity head shows what it reads."""
  config = tiny.config(weights, entry, pool=pool, add_last=True)
  adapted, clips = method.build(config, of_clips, D), batch.inputs
  params = jax.jit(adapted.init)(jax.random.key(0), of_clips.frozen, clips)
  params['head'] = {'kernel': jnp.eye(D), 'bias': jnp.zeros(D)}
  shown = jax.jit(adapted.predict)(params, of_clips.frozen, clips)

  frames = clips.reshape(-1, *clips.shape[2:])
  x = np.asarray(of_clips.apply(of_clips.frozen, frames), np.float64)
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
      x.var(-1, keepdims=True) + of_clips.eps)
  norm = of_clips.frozen['norm']
  x = x * np.asarray(norm['scale']) + np.asarray(norm['bias'])
  x = x.reshape(-1, T, N, D)[:, :, of_clips.prefix * (pool == 'patches'):]
  np.testing.assert_allclose(shown, x.mean((1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'name', [name for name in TUNINGS if name not in method.BY_FRAME])
def test_what_tunes_a_backbone_of_tubelets_has_clips_whole(name, of_tubelets):
  """It starts as the backbone, and every parameter has a gradient."""
  adapted = method.build(tiny.config('', (name, 'losa')), of_tubelets, D)
  rng = np.random.default_rng(0)
  clips = jnp.asarray(rng.integers(0, 256, (2, 4, 16, 16, 3), np.uint8))

  @jax.jit
  def run(params, weights, clips):
    def total(params):
      logits = adapted.predict(params, weights, clips)
      return losses.cross_entropy(logits, jnp.array([0, 1])).sum(), logits

    last = of_tubelets.apply(weights, clips)
    return *jax.grad(total, has_aux=True)(params), last

  params = jax.jit(adapted.init)(jax.random.key(0), of_tubelets.frozen, clips)
  params['head'] = {'kernel': jnp.eye(D), 'bias': jnp.zeros(D)}
  _, shown, last = run(params, of_tubelets.frozen, clips)
  if name not in contracts_test.STARTS_ELSEWHERE:
    norm = of_tubelets.frozen['norm']
    normed = layer_norm(last[:, 1:], **norm, eps=of_tubelets.eps)
    np.testing.assert_allclose(shown, normed.mean(1), rtol=1e-4, atol=1e-5)
  params = tiny.random_like(params)
  grads, logits, _ = run(params, of_tubelets.frozen, clips)
  for path, g in jax.tree.leaves_with_path(grads):
    assert np.abs(g).max() > 1e-6, jax.tree_util.keystr(path)
  _, back, _ = run(params, of_tubelets.frozen, clips[:, ::-1])
  assert np.abs(logits - back).max() > 2e-4 * np.abs(logits).max()


def test_what_reads_frames_by_themselves_refuses_tubelets(of_tubelets):
  config = tiny.config('', ('st_adapter', 'losa'))
  with pytest.raises(ValueError, match=(
      r"config\.method='st_adapter' .* takes clips whole: .*lora.*, or in "
      r'config\.backbone\.weights')):
    method.build(config, of_tubelets, tiny.CLASSES)


@pytest.mark.parametrize('entry', SIDE_CASES, ids=tiny.case_id)
def test_no_side_method_differentiates_the_backbone(
    entry, weights, of_clips, batch):
  adapted = method.build(
      tiny.config(weights, entry), poisoned(of_clips), tiny.CLASSES)
  lower(adapted, of_clips.frozen, batch)


@pytest.mark.parametrize('entry', SIDE_CASES, ids=tiny.case_id)
def test_a_step_of_a_side_method_costs_hardly_more_than_forward(entry):
  backbone = shaped('S/16', 128, depth=3)._replace(frames=T)
  adapted = method.build(tiny.config('', entry), backbone, 10)
  shape = 1, T, *backbone.image_size, 3
  batch = data.Batch(
      jax.ShapeDtypeStruct(shape, jnp.uint8),
      jax.ShapeDtypeStruct(shape[:1], jnp.int32),
      jax.ShapeDtypeStruct(shape[:1], jnp.float32))
  forward = jax.jit(backbone.apply).lower(
      backbone.frozen, jax.ShapeDtypeStruct(shape[1:], jnp.uint8))
  ratio = lower(adapted, backbone.frozen, batch).cost_analysis()[
      'flops'] / forward.cost_analysis()['flops']
  assert 0.99 < ratio <= MOST
