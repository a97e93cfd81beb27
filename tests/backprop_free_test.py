"""Nothing is back-propagated through the backbone, and so a step is cheap."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lst import Features, LowRank, Norm, SideNetwork, losses, method, step
from lst import config as config_lib
from lst.backbones.backbone import Backbone
from lst.backbones.block import unchanged
from lst.backbones.presets import preset
from lst.data import Batch
from lst.method import Method
from tests import tiny

# Step FLOPs over forward FLOPs.
MOST, MOST_LOSA = 1.1, 1.05


class BackpropagatedError(Exception):
  """A gradient came to a state of the backbone."""


@jax.custom_vjp
def poison(x):
  return x


def _forward(x):
  return x, None


def _backward(_, g):
  raise BackpropagatedError(f'a gradient of shape {g.shape}')


poison.defvjp(_forward, _backward)


def poisoned(backbone: Backbone) -> Backbone:
  """The same backbone; a gradient into any of its states raises."""
  def apply(frozen, images, at=unchanged):
    return backbone.apply(frozen, images, lambda k, x: at(k, poison(x)))

  return backbone._replace(apply=apply)


def shifted(backbone: Backbone, classes: int) -> Method:
  """A method whose gradient does pass through the blocks: a learned shift."""
  def init(key, frozen, inputs):
    del key, frozen, inputs
    return {'shift': jnp.zeros(backbone.width),
            'head': jnp.ones((backbone.width, classes))}

  def predict(params, frozen, inputs):
    def at(k, x):
      return x + params['shift'] if k == 2 else x
    return backbone.apply(frozen, inputs, at).mean(1) @ params['head']

  return Method(init, predict)


def lower(adapted, frozen, batch, optimizer=None):
  """The training step of a method, traced and lowered for shapes alone."""
  optimizer = optimizer or optax.adamw(1e-3)
  params = jax.eval_shape(adapted.init, jax.random.key(0), frozen, batch.inputs)
  state = step.TrainState(
      jax.ShapeDtypeStruct((), jnp.int32), params,
      jax.eval_shape(optimizer.init, params))
  train_step = functools.partial(
      step.train_step, predict=adapted.predict, loss=losses.cross_entropy,
      optimizer=optimizer)
  return jax.jit(train_step).lower(state, frozen, batch)


@pytest.mark.parametrize('pool', ['cls', 'mean', 'patches'])
@pytest.mark.parametrize('entry', tiny.SIDE_CASES, ids=tiny.case_id)
def test_no_side_method_differentiates_the_backbone(
    entry, pool, weights, backbone, batch):
  config = tiny.config(weights, entry, pool=pool)
  adapted = method.build(config, poisoned(backbone), tiny.CLASSES)
  lower(adapted, backbone.frozen, batch)


@pytest.mark.parametrize('options', [
    {'residual': 'figure'}, {'tap_norm': True}, {'norm': 'none'},
    {'use_bias': True, 'first': 'token'}, {'token_mixing': False}],
    ids=lambda o: next(iter(o)))
def test_no_option_of_losa_differentiates_the_backbone(
    options, weights, backbone, batch):
  config = tiny.config(weights, ('side', 'losa'), **options)
  adapted = method.build(config, poisoned(backbone), tiny.CLASSES)
  lower(adapted, backbone.frozen, batch)


def test_the_poison_acts_in_the_path_of_a_gradient(backbone, batch):
  lower(shifted(backbone, tiny.CLASSES), backbone.frozen, batch)
  with pytest.raises(BackpropagatedError):
    lower(shifted(poisoned(backbone), tiny.CLASSES), backbone.frozen, batch)


def test_the_poison_acts_on_the_weights_of_the_backbone(backbone, batch):
  def total(frozen, backbone):
    return backbone.apply(frozen, jnp.asarray(batch.inputs)).sum()

  jax.eval_shape(jax.grad(lambda f: total(f, backbone)), backbone.frozen)
  with pytest.raises(BackpropagatedError):
    jax.eval_shape(
        jax.grad(lambda f: total(f, poisoned(backbone))), backbone.frozen)


@pytest.mark.parametrize('stop, told', [
    (lambda features: features, pytest.raises(BackpropagatedError)),
    (jax.lax.stop_gradient, contextlib.nullcontext())],
    ids=['as they are', 'stopped'])
def test_a_side_network_by_itself_stops_no_gradient(
    stop, told, backbone, batch):
  network, apply = SideNetwork(LowRank(2), 3), poisoned(backbone).apply

  def total(frozen):
    states = {}
    apply(frozen, jnp.asarray(batch.inputs),
          lambda k, x: states.setdefault(k, x))
    norm = Norm(**frozen['norm'], eps=backbone.eps)
    features = stop(Features(tuple(states.values()), norm))
    return network.init_with_output(jax.random.key(0), features)[0].sum()

  with told:
    jax.eval_shape(jax.grad(total), backbone.frozen)


def test_the_poison_changes_no_number(weights, backbone, batch):
  """What is traced clean above is the same function."""
  config = tiny.config(weights, ('side', 'losa'))
  ours, theirs = (
      method.build(config, b, tiny.CLASSES)
      for b in (backbone, poisoned(backbone)))
  params = tiny.random_like(jax.eval_shape(
      ours.init, jax.random.key(0), backbone.frozen, batch.inputs))
  np.testing.assert_array_equal(*(
      jax.jit(m.predict)(params, backbone.frozen, batch.inputs)
      for m in (ours, theirs)))


def shaped(name: str, size: int, **fields) -> Backbone:
  """A backbone of a known shape; `frozen` holds shapes, no weights."""
  vit = preset(name, image_size=size, **fields)
  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  frozen = jax.eval_shape(vit.init, jax.random.key(0), image)['params']

  def apply(frozen, images, at=unchanged):
    x = images.astype(jnp.float32) / 127.5 - 1
    return vit.apply({'params': frozen}, x, at)

  half = (0.5, 0.5, 0.5)
  return Backbone(
      name, 'shapes', apply, frozen, (size, size),
      vit.grid[0] * vit.grid[1] + vit.prefix, vit.width, vit.depth, vit.prefix,
      True, vit.eps, half, half, 'float32')


def step_over_forward(adapted, backbone, examples):
  """FLOPs of the compiled training step over those of the forward pass."""
  shape = (examples, *backbone.image_size, 3)
  batch = Batch(
      jax.ShapeDtypeStruct(shape, jnp.uint8),
      jax.ShapeDtypeStruct(shape[:1], jnp.int32),
      jax.ShapeDtypeStruct(shape[:1], jnp.float32))
  forward = jax.jit(backbone.apply).lower(
      backbone.frozen, batch.inputs).compile()
  trained = lower(adapted, backbone.frozen, batch).compile()
  return trained.cost_analysis()['flops'] / forward.cost_analysis()['flops']


@pytest.mark.parametrize('entry', tiny.SIDE_CASES, ids=tiny.case_id)
def test_a_step_of_a_side_method_costs_hardly_more_than_forward(entry):
  config = config_lib.default()
  config.method, config.side.name = entry
  backbone = shaped('S/16', 128, depth=3)
  adapted = method.build(config, backbone, 10)
  assert 0.99 < step_over_forward(adapted, backbone, 2) <= MOST


def test_the_count_sees_a_backward_pass():
  backbone = shaped('S/16', 128, depth=3)
  assert step_over_forward(shifted(backbone, 10), backbone, 2) > 1.5


def test_losa_on_vit_b16_costs_five_percent_at_most():
  config = config_lib.default()
  config.side.rank = 16
  backbone = shaped('B/16', 224)
  adapted = method.build(config, backbone, 100)
  ratio = step_over_forward(adapted, backbone, 2)
  assert 0.99 < ratio <= MOST_LOSA
