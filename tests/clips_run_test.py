"""Runs on videos with a backbone of tubelets, through the public entry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lst
from lst import data, losses, method, train
from lst.backbones import backbone as backbones
from lst.backbones.frozen import of_clips
from lst.side.build import CLIP_SIDES
from tests import tiny

pytest.importorskip('av')

FRAMES = 4


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  folder = tmp_path_factory.mktemp('clip_backbone')
  return str(tiny.write(folder, tiny.CLIP_VIT))


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  """Two classes of four random videos each, to train on and to test on."""
  from lst.data.video import motion
  root, rng = tmp_path_factory.mktemp('videos'), np.random.default_rng(0)
  for split in ('train', 'test'):
    for name in ('a', 'b'):
      (root / split / name).mkdir(parents=True)
      for k in range(4):
        frames = rng.integers(0, 256, (8, 16, 16, 3), np.uint8)
        motion.encode(str(root / split / name / f'{k}.mp4'), frames,
                      {'g': '250', 'bf': '0', 'qp': '10', 'threads': '1'})
  return root


def config_of(weights, videos, name):
  """Two steps of all eight videos."""
  config = tiny.config(weights, ('side', name))
  config.data.update(dict(name='video_folder', path=str(videos)))
  config.data.video.frames = FRAMES
  config.train.update(dict(epochs=2.0, batch_size=8, eval_batch_size=8))
  return config


@pytest.mark.parametrize('trains, name, blocks', [
    ('side', 'losa', 'scan'), ('side', 'linear', 'loop'),
    ('lora', 'losa', 'loop')])
def test_a_run_and_what_it_leaves(
    trains, name, blocks, weights, videos, tmp_path):
  config = config_of(weights, videos, name)
  config.method, config.backbone.blocks = trains, blocks
  result = train.run(config, tmp_path)
  assert result['steps'] == 2 and result['test_examples'] == 8
  # What it left gives the same answers.
  found = lst.classifier(tmp_path / 'side.safetensors')
  assert (found.backbone.frames, found.backbone.times) == (FRAMES, 2)
  split = data.build(config.data).test
  (batch,) = data.eval_batches(
      data.viewed(split), batch_size=8, image_size=(FRAMES, 16, 16))
  logits = found.logits(batch.inputs)
  loss = losses.cross_entropy(logits, jnp.asarray(batch.label)).mean()
  assert float(loss) == pytest.approx(result['test_loss'], rel=1e-4)
  # Off its initial value, where every class is as likely as the other.
  assert np.ptp(np.asarray(logits)) > 1e-3


@pytest.mark.parametrize('name', CLIP_SIDES)
def test_every_side_network_of_clips_reads_tubelets(name, weights):
  config = tiny.config(weights, ('side', name), heads=3)
  built = of_clips(backbones.build(config.backbone), FRAMES)
  made = method.build(config, built, 3)
  clips = jax.ShapeDtypeStruct((2, FRAMES, 16, 16, 3), np.uint8)
  params = jax.eval_shape(made.init, jax.random.key(0), built.frozen, clips)
  logits = jax.eval_shape(made.predict, params, built.frozen, clips)
  assert logits.shape == (2, 3)


def test_images_are_refused_with_what_to_do(weights, tmp_path):
  with pytest.raises(ValueError, match='give it videos'):
    train.run(tiny.config(weights), tmp_path)
