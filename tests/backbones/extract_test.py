"""Features are the same however many images go through the backbone at once."""

import jax
import numpy as np
import pytest

from lst.backbones import backbone as backbones
from lst.backbones.block import unchanged
from tests.backbones import vit_test

HALF = (0.5, 0.5, 0.5)
# Of one image of 17 tokens and 24 channels in the MLP's hidden layer.
IMAGE_BYTES = 17 * 4 * 24 * 4


def tiny_backbone():
  vit = vit_test.TINY

  def apply(frozen, images, at=unchanged):
    return vit.apply({'params': frozen}, images, at)

  return backbones.Backbone(
      'tiny', 'tests', apply, vit_test.random_params(vit), (16, 16), 17,
      vit.width, vit.depth, 1, True, vit.eps, HALF, HALF, 'float32')


def taps(images, monkeypatch, at_once):
  monkeypatch.setattr(backbones, 'CACHE_BYTES', at_once * IMAGE_BYTES)
  backbone = tiny_backbone()
  extract = backbones.extractor(backbone)
  compiled = jax.jit(extract).lower(backbone.frozen, images).compile()
  return extract(backbone.frozen, images).taps, compiled.as_text()


@pytest.mark.parametrize('at_once', [1, 2, 4])
def test_images_in_turn_give_the_same_features(monkeypatch, at_once):
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  images = vit_test.images(batch=8)
  whole, text = taps(images, monkeypatch, 8)
  assert ' while(' not in text
  turns, text = taps(images, monkeypatch, at_once)
  assert ' while(' in text
  for one, other in zip(whole, turns, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize('batch, most, count', [
    (64, 6, 4), (64, 100, 64), (50, 6, 5), (6, 0, 1), (53, 6, 53), (1, 6, 1),
    (62, 6, 62)])
def test_the_number_of_images_at_once(monkeypatch, batch, most, count):
  monkeypatch.setattr(backbones, 'CACHE_BYTES', most * IMAGE_BYTES)
  assert backbones.images_at_once(batch, 17, 24) == count
