"""Runs on blocks that stay on disk end where those on resident ones end."""

import json

import numpy as np
import pytest

import lst
from lst import train
from lst.backbones import backbone as backbones
from tests import conftest
from tests.backbones.streamed_test import config_of


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('blocks')


@pytest.fixture(scope='module')
def run_of(weights, folder, tmp_path_factory):
  """(blocks, fields) -> folder of a short run on the digits, made once."""
  done = {}

  def run(blocks, **fields):
    name = blocks, tuple(fields.items())
    if name not in done:
      config = config_of(weights, folder, blocks)
      config.data.train, config.data.test = 'train[:64]', 'test[:64]'
      config.update_from_flattened_dict(fields)
      done[name] = tmp_path_factory.mktemp('run')
      with conftest.devices(2):
        train.run(config, done[name])
    return done[name]

  return run


def result_of(folder):
  result = json.loads((folder / 'result.json').read_text())
  return result['test_accuracy'], result['test_loss']


@pytest.mark.parametrize('fields', [
    {'cache.mode': 'off'}, {'cache.mode': 'ram'},
    {'cache.mode': 'off', 'train.microbatch': 4}],
    ids=['online', 'cached', 'microbatch'])
def test_a_run_ends_where_that_on_resident_blocks_ends(fields, run_of):
  assert result_of(run_of('disk', **fields)) == pytest.approx(
      result_of(run_of('loop', **{'cache.mode': 'off'})), rel=1e-5)


def test_what_was_trained_on_either_is_served_by_the_other(
    run_of, weights, folder, backbone, batch):
  path = run_of('disk', **{'cache.mode': 'off'}) / 'side.safetensors'
  classifiers = (lst.classifier(path), lst.classifier(path, backbone))
  assert [c.backbone.blocks for c in classifiers] == ['disk', 'loop']
  ours, theirs = (c.logits(batch.inputs) for c in classifiers)
  np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
  on_disk = backbones.build(config_of(weights, folder).backbone)
  served = lst.serve([path], on_disk).predict(batch.inputs, [0] * 8)
  np.testing.assert_allclose(served, theirs, rtol=1e-5, atol=1e-5)


def test_what_was_trained_on_int8_is_served_on_int8_alone(
    run_of, weights, folder, backbone, batch):
  folder_of_run = run_of(
      'disk', **{'cache.mode': 'off', 'backbone.quantise': 'int8'})
  path = folder_of_run / 'side.safetensors'
  plain = run_of('loop', **{'cache.mode': 'off'})
  # It learned as much, from other features.
  ours, theirs = result_of(folder_of_run)[1], result_of(plain)[1]
  assert ours == pytest.approx(theirs, rel=0.05) and ours != theirs
  classifier = lst.classifier(path)
  assert classifier.backbone.quantise == 'int8'
  logits = classifier.logits(batch.inputs)
  resident = backbones.build(
      config_of(weights, folder, 'scan', quantise='int8').backbone)
  np.testing.assert_allclose(
      lst.serve([path]).predict(batch.inputs, [0] * 8), logits,
      rtol=1e-5, atol=1e-5)
  for refused in (lst.classifier, lst.load, lambda p, b: lst.serve([p], b)):
    with pytest.raises(ValueError, match=r"quantise 'int8', but here it is"):
      refused(path, backbone)
    with pytest.raises(ValueError, match=r"quantise 'none', but here it is"):
      refused(plain / 'side.safetensors', resident)
