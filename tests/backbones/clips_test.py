"""Backbones of clips: tubelets, their positions, the hook, features by time."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import method
from lst.backbones import backbone as backbones
from lst.backbones import positions, stacked
from lst.backbones.frozen import of_clips
from lst.backbones.presets import preset
from lst.plan import programs
from tests import backprop_free_test, tiny
from tests.backbones import vit_test

PLAIN = vit_test.TINY.clone(tubelet=2, grid=(2, 4, 4), resize='bilinear')
VARIANTS = {
    'learned': PLAIN,
    'sincos': PLAIN.clone(position='sincos', prefix=0),
    'rotary': PLAIN.clone(position='rotary_3d', rope_base=1e4),
}
FRAMES = 4


def clips(frames=FRAMES, height=16, width=16, batch=2):
  shape = (batch, frames, height, width, 3)
  return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def random_params(vit):
  """Parameters with nothing at zero or one."""
  shapes = jax.eval_shape(
      vit.init, jax.random.key(0), jnp.zeros((1, *vit.tile, 3)))['params']
  return tiny.random_like(shapes, scale=0.2)


@pytest.mark.parametrize('name', VARIANTS)
def test_every_state_can_be_seen_scanned_and_gone_on_from(name):
  vit, x = VARIANTS[name], clips(6, 8, 20)
  params = random_params(vit)
  seen = vit_test.states(vit, params, x)
  tokens = 3 * 2 * 5 + vit.prefix
  assert sorted(seen) == list(range(5))
  assert {state.shape for state in seen.values()} == {(2, tokens, 24)}
  scanned = jax.jit(lambda p, x: stacked.states(vit, p, x))(
      stacked.stack(params, vit.depth), x)
  for block, state in enumerate(scanned):
    np.testing.assert_allclose(state, seen[2 * block + 2], atol=1e-5)
  on = jax.jit(lambda p, x: vit.apply(
      {'params': p}, x, start=2, grid=(2, 5)))(params, seen[2])
  np.testing.assert_allclose(on, seen[4], atol=1e-5)


def test_a_token_is_of_its_tubelet_alone():
  vit = PLAIN.clone(depth=0)
  params, x = random_params(vit), clips(batch=1)
  before = vit.apply({'params': params}, x)
  # The second time, second row, third column of 4 x 4 patches.
  after = vit.apply({'params': params}, x.at[0, 3, 5, 9].add(1.0))
  moved = np.abs(before - after).max(-1)[0]
  assert list(np.flatnonzero(moved > 1e-6)) == [1 + 16 + 4 + 2]


@pytest.mark.parametrize('name', VARIANTS)
def test_positions_tell_times_rows_and_columns_apart(name):
  """Without them, tokens that change places would only change places."""
  vit = VARIANTS[name].clone(prefix=0)
  params, x = random_params(vit), clips(batch=1)

  def moved(vit):
    apply = jax.jit(lambda x: vit.apply({'params': params}, x))
    out, moves = np.reshape(apply(x), (2, 4, 4, 24)), []
    for axis, step in enumerate(vit.tile):
      other = np.reshape(apply(jnp.roll(x, step, axis + 1)), out.shape)
      moves.append(np.abs(np.roll(out, 1, axis) - other).max())
    return moves

  assert min(moved(vit)) > 1e-3
  assert max(moved(vit.clone(position='none'))) < 1e-5


@pytest.mark.parametrize('shape, match', [
    ((1, 3, 16, 16, 3), 'does not divide into tubelets of 2'),
    ((1, 16, 16, 3), 'reads clips'), ((1, 4, 16, 18, 3), 'patches of 4 x 4')])
def test_what_is_no_clip_of_whole_tubelets(shape, match):
  with pytest.raises(ValueError, match=match):
    jax.eval_shape(PLAIN.init, jax.random.key(0), jnp.zeros(shape))


def test_a_backbone_of_images_reads_no_clips():
  with pytest.raises(ValueError, match='reads images'):
    jax.eval_shape(vit_test.TINY.init, jax.random.key(0), clips())


def test_learned_positions_are_resampled_along_each_axis():
  """Of a linear function, a linear resize keeps the values inside."""
  t, y, x = np.meshgrid(*map(np.arange, (2, 4, 4)), indexing='ij')
  table = jnp.asarray((t * 100 + y * 10 + x)[..., None], jnp.float32)
  new = positions.resize_positions(
      table.reshape(32, 1), (2, 4, 4), (2, 8, 4), 'bilinear')
  new = new.reshape(2, 8, 4)
  np.testing.assert_allclose(new[:, 3] - new[:, 2], 5.0, rtol=1e-5)
  np.testing.assert_allclose(new[1] - new[0], 100.0, rtol=1e-5)
  longer = positions.resize_positions(
      table.reshape(32, 1), (2, 4, 4), (4, 4, 4), 'bilinear')
  np.testing.assert_allclose(
      longer.reshape(4, 16)[:, 0], [0, 25, 75, 100], rtol=1e-5)


@pytest.mark.parametrize('channels', [4, 7])
def test_heads_that_cannot_be_turned_in_three_directions(channels):
  with pytest.raises(ValueError, match='3-D rotary positions need heads'):
    positions.rotary_3d((2, 2, 2), 0, channels, 1e4)


@pytest.mark.parametrize('name, millions', [
    ('4ds_B/16', 88), ('4ds_e/16x2', 3800), ('vjepa2_g/16', 1012)])
def test_presets_of_clips_are_of_the_published_size(name, millions):
  vit = preset(name)
  def count(vit):
    tree = jax.eval_shape(
        vit.init, jax.random.key(0), jnp.zeros((1, *vit.tile, 3)))
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
  block = count(vit.clone(depth=1)) - count(vit.clone(depth=0))
  total = count(vit.clone(depth=0)) + vit.depth * block
  assert total / 1e6 == pytest.approx(millions, rel=0.01)
  assert vit.grid == (8, 14, 14)


def test_any_size_takes_tubelets():
  vit = preset('Ti/8x4', image_size=(64, 32), frames=8)
  assert (vit.tile, vit.grid) == ((4, 8, 8), (2, 8, 4))


@pytest.fixture(scope='module')
def backbone(tmp_path_factory):
  """A tiny one with a CLS token, which features leave out."""
  vit = tiny.CLIP_VIT.clone(prefix=1, position='learned', resize='bilinear')
  path = tiny.write(tmp_path_factory.mktemp('clip_backbone'), vit)
  return backbones.build(tiny.config(str(path)).backbone)


def test_features_hold_the_tokens_of_one_time_after_another(backbone):
  built = of_clips(backbone, FRAMES)
  assert (built.tokens, built.times, built.prefix) == (16, 2, 0)
  assert built.input_size == (FRAMES, 16, 16)
  inputs = np.random.default_rng(0).integers(
      0, 256, (3, FRAMES, 16, 16, 3), np.uint8)
  taps = jax.jit(backbones.extractor(built))(built.frozen, inputs).taps

  @jax.jit
  def states_of(frozen, inputs):
    states = {}
    built.apply(frozen, inputs, lambda k, x: states.update({k: x}) or x)
    return states

  states = states_of(built.frozen, inputs)
  assert len(taps) == built.depth
  for tap, state in zip(taps, (states[2], states[4]), strict=True):
    np.testing.assert_allclose(tap, state[:, 1:], atol=1e-5)


@pytest.mark.parametrize('frames, match', [
    (0, 'reads clips: give it videos'), (3, 'needs a multiple of 2')])
def test_inputs_that_do_not_fit_are_named(backbone, frames, match):
  with pytest.raises(ValueError, match=match):
    of_clips(backbone, frames)


@pytest.mark.parametrize('name', ['losa', 'linear'])
def test_no_side_method_differentiates_the_backbone(backbone, name):
  built = of_clips(backbone, FRAMES)
  config = tiny.config('', ('side', name))
  adapted = method.build(
      config, backprop_free_test.poisoned(built), tiny.CLASSES)
  batch = tiny.batch()
  clips = np.repeat(batch.inputs[:, None], FRAMES, 1)
  backprop_free_test.lower(
      adapted, built.frozen, batch._replace(inputs=clips))


def test_a_plan_counts_the_features_of_clips(tmp_path):
  config = tiny.config(str(tiny.write(tmp_path, tiny.CLIP_VIT)))
  made = programs.plan(config, tiny.CLASSES, jax.devices()[:1], frames=8)
  # Two batches, of two blocks, in f32: of 8 frames 4 times of 16 tokens.
  features = math.prod((2, 2, tiny.EXAMPLES, 4 * 16, 24, 4))
  assert made.sizes.taps == pytest.approx(features, rel=0.01)
