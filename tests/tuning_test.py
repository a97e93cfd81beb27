"""Methods that back-propagate: what each changes, and what remat saves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lst
from lst import (
    cache,
    data,
    export,
    inputs,
    losses,
    method,
    sweep,
    tasks,
    train,
)
from lst import config as config_lib
from lst.backbones import backbone as backbones
from lst.sweep import parts as sweep_parts
from lst.tasks import parts as tasks_parts
from lst.tuning import TUNINGS, lora, vpt
from tests import tiny

D, L = tiny.VIT.width, tiny.VIT.depth


@pytest.fixture(scope='module')
def batch():
  """Arrays, where a run has placed them already."""
  return jax.tree.map(jnp.asarray, tiny.batch())


def case(weights, name, dtype='float32', **tuning):
  """(backbone, method) of a config with other fields of `tuning`."""
  config = tiny.config(weights, (name, 'losa'))
  config.backbone.dtype = dtype
  config.tuning.update(tuning)
  backbone = backbones.build(config.backbone)
  return backbone, method.build(config, backbone, tiny.CLASSES)


def shapes_of(adapted, frozen, batch):
  return jax.eval_shape(adapted.init, jax.random.key(0), frozen, batch.inputs)


def total(params, adapted, frozen, batch):
  logits = adapted.predict(params, frozen, batch.inputs)
  return losses.cross_entropy(logits, batch.label).sum()


@pytest.mark.parametrize('name', TUNINGS)
def test_bf16_has_the_gradients_of_f32_but_for_rounding(name, weights, batch):
  grads = []
  for dtype in ('float32', 'bfloat16'):
    backbone, adapted = case(weights, name, dtype)
    params = jax.jit(adapted.init)(
        jax.random.key(0), backbone.frozen, batch.inputs)
    params['head'] = tiny.random_like(params['head'])
    of = jax.jit(lambda p, f, a=adapted: jax.grad(total)(p, a, f, batch))
    grads.append(jnp.concatenate(
        [x.ravel() for x in jax.tree.leaves(of(params, backbone.frozen))]))
  assert jnp.linalg.norm(grads[0] - grads[1]) < 0.05 * jnp.linalg.norm(grads[0])


def residual_bytes(adapted, frozen, batch):
  """Bytes that the forward pass keeps for the backward one."""
  params = shapes_of(adapted, frozen, batch)
  _, pull = jax.eval_shape(
      lambda p: jax.vjp(lambda q: total(q, adapted, frozen, batch), p), params)
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pull))


@pytest.mark.parametrize('name', TUNINGS)
def test_remat_keeps_a_part_of_the_activations(name, weights, batch):
  backbone, plain = case(weights, name)
  _, remat = case(weights, name, remat=True)
  # What is kept of weights is no activation, and the same for both.
  held = sum(x.size * 4 for x in jax.tree.leaves(backbone.frozen))
  before, after = (
      residual_bytes(m, backbone.frozen, batch) for m in (plain, remat))
  assert after - held < 0.5 * (before - held)


@pytest.mark.parametrize('name', ['lora', 'vpt'])
def test_remat_is_another_program_of_the_same_gradients(name, weights, batch):
  grads, programs = [], []
  for remat in (False, True):
    backbone, adapted = case(weights, name, remat=remat)
    params = tiny.random_like(shapes_of(adapted, backbone.frozen, batch))
    of = functools.partial(
        jax.grad(total), adapted=adapted, frozen=backbone.frozen, batch=batch)
    traced = jax.jit(of).trace(params)
    programs.append(str(traced.jaxpr))
    grads.append(traced.lower().compile()(params))
  # A parameter of the operation that rematerialises, and of no other.
  assert ['prevent_cse' in program for program in programs] == [False, True]
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
      *grads)


def test_lora_is_the_low_rank_change_of_the_weights(weights, backbone, batch):
  """The factors one after the other give what the merged kernel gives."""
  tuned = lora(rank=4, scale=0.5, targets='all')
  params = tiny.random_like(
      jax.eval_shape(tuned.init, jax.random.key(0), backbone.frozen), scale=0.1)
  merged = jax.tree.map(lambda x: x, backbone.frozen)
  for block in range(L):
    name = f'block_{block}'
    for part, layer in (('attention', 'out'), ('mlp', 'up'), ('mlp', 'down')):
      w = params[name][part][layer]['w']
      merged[name][part][layer]['kernel'] += 0.5 * w['down'] @ w['up']
    own = params[name]['attention']['qkv']
    merged[name]['attention']['qkv']['kernel'] += jnp.concatenate(
        [0.5 * own[k]['down'] @ own[k]['up'] for k in 'qkv'], 1)
  images = batch.inputs
  run = jax.jit(backbone.apply)
  ours = run(tuned.weights(params, backbone.frozen), images)
  np.testing.assert_allclose(ours, run(merged, images), rtol=1e-3, atol=1e-4)
  assert np.abs(ours - run(backbone.frozen, images)).max() > 0.1


@pytest.mark.parametrize('position', ['learned', 'rotary'])
def test_prompts_come_and_go(position, batch):
  """Each block sees its own prompts; the last state has none."""
  vit = dataclasses.replace(
      tiny.VIT, position=position, heads=2, depth=2)
  images = batch.inputs.astype(jnp.float32) / 127.5 - 1
  frozen = vit.init(jax.random.key(0), images)['params']
  seen = {}

  def apply(weights, images, at):
    def watch(k, x):
      y = at(k, x)
      seen[k] = x.shape[1], y.shape[1], y[0, 2:7]
      return y
    return vit.apply({'params': weights}, images, watch)

  backbone = backbones.Backbone(
      'tiny', 'test', apply, frozen, (16, 16), tiny.TOKENS, D, 2, 2, True, 1e-6,
      (0.5,) * 3, (0.5,) * 3, 'float32')
  tuned = vpt(backbone, tokens=5)
  params = tuned.init(jax.random.key(1), frozen)
  out = apply(frozen, images, tuned.at(params, frozen))
  assert out.shape == (tiny.EXAMPLES, tiny.TOKENS, D)
  n = tiny.TOKENS
  assert [seen[k][:2] for k in range(5)] == [
      (n, n + 5), (n + 5, n + 5), (n + 5, n + 5), (n + 5, n + 5), (n + 5, n)]
  for block in range(2):
    np.testing.assert_array_equal(
        seen[2 * block][2], params['prompts'][block])


@pytest.mark.parametrize('name, fields, message', [
    ('lora', {'targets': 'qk'}, "targets='qk' is none of qv, all"),
    ('lora', {'rank': 0}, 'rank=0 has to be at least 1'),
    ('vpt', {'tokens': 0}, 'tokens=0 has to be at least 1'),
    ('parallel', {'where': 'head'}, "where='head' is none of attention, mlp"),
    ('sequential', {'rank': 0}, 'sequential.rank=0 has to be at least 1')])
def test_bad_options_are_told(name, fields, message, weights):
  with pytest.raises(ValueError, match=message):
    case(weights, name, **{name: fields})


def test_what_needs_frozen_features_says_so(weights):
  config = tiny.config(weights, ('lora', 'losa'))
  built = train.build(config)
  assert inputs.open_(config, built)[1].online
  config.cache.mode = 'disk'
  with pytest.raises(cache.CacheError, match='nothing to keep; set it to auto'):
    inputs.open_(config, built)
  config.cache.mode, config.sweep.lr = 'auto', (1e-3, 1e-2)
  assert sweep.asked(config)
  with pytest.raises(ValueError, match="method='lora': a sweep shares"):
    sweep_parts.make(config)
  other = tiny.config(weights, ('side', 'last'))
  other.data.val, other.sweep.rank = 'train[:8]', (2, 4)
  with pytest.raises(ValueError, match=r"sweep\.rank: .*name='last'"):
    sweep_parts.make(other)
  config.sweep.lr = ()
  config.tasks.one = config_lib.data()
  assert tasks.asked(config)
  with pytest.raises(ValueError, match="method='lora': tasks share"):
    tasks_parts.make(config)


@pytest.mark.parametrize('name', ['full', 'side'])
def test_a_run_ends_in_a_file_that_classifies(name, weights, tmp_path):
  config = tiny.config(weights, (name, 'linear'))
  config.data.train, config.data.test = 'train[:16]', 'test[:8]'
  result = train.run(config, tmp_path)
  read = lst.classifier(tmp_path / 'side.safetensors')
  built = train.build(config)
  split = inputs.open_(config, built)[1].test
  right = sum(
      float((read.logits(b.inputs).argmax(-1) == b.label) @ b.mask)
      for b in _images(config, built))
  assert split and right == round(result['test_accuracy'] * 8)
  assert read.classes == built.dataset.classes
  adapted = export.load(tmp_path / 'side.safetensors')
  assert (adapted.network is None) == (name == 'full')
  if name == 'full':
    with pytest.raises(ValueError, match='holds no side network'):
      lst.serve([tmp_path / 'side.safetensors'])


def _images(config, built):
  return data.eval_batches(
      built.dataset.test, batch_size=8, image_size=built.backbone.image_size,
      resize=config.data.resize, process_index=0, process_count=1, workers=1,
      prefetch=1)
