"""Blocks as a stack, streamed, quantised: the loop's numbers, or near them."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import build, export, sharding, train
from lst import method as methods
from lst.backbones import backbone as backbones
from lst.backbones import loading, placing, quantised, stacked
from tests import tiny
from tests.backbones import vit_test


@pytest.mark.parametrize('name', vit_test.VARIANTS)
def test_a_scan_gives_the_states_of_the_loop(name):
  vit, images = vit_test.VARIANTS[name], vit_test.images()
  params = vit_test.random_params(vit)
  seen = vit_test.states(vit, params, images)
  frozen = stacked.stack(params, vit.depth)
  ours = jax.jit(lambda f, x: stacked.states(vit, f, x))(frozen, images)
  assert ours.shape == (vit.depth, *seen[0].shape)
  for block, state in enumerate(ours):
    np.testing.assert_allclose(
        state, seen[2 * block + 2], rtol=1e-5, atol=1e-5)
    assert np.abs(state - seen[2 * block]).max() > 0.1


def test_unstacking_gives_back_what_was_stacked():
  params = vit_test.random_params(vit_test.TINY)
  depth = vit_test.TINY.depth
  back = stacked.unstacked(stacked.stack(params, depth), depth)
  jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize('quantise', ['none', 'int8'])
def test_weights_have_one_digest_in_a_loop_and_in_a_stack(weights, quantise):
  """So a side network goes with either, and with no other weights."""
  config = tiny.config(weights).backbone
  config.quantise = quantise
  frozen = {}
  for config.blocks in ('loop', 'scan'):
    frozen[config.blocks] = backbones.build(config).frozen
  digests = {export.digest(x) for x in frozen.values()}
  assert len(digests) == 1 and stacked.BLOCKS in frozen['scan']
  other = jax.tree.map(lambda x: x, frozen['scan'])
  last = jax.tree.leaves(other[stacked.BLOCKS])[-1]
  changed = jax.tree.map(
      lambda x: x.at[2].add(1) if x is last else x, other)
  assert export.digest(changed) not in digests


def program(vit, blocks: str) -> str:
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  params = jax.eval_shape(vit.init, jax.random.key(0), image)['params']
  if blocks == 'loop':
    function = lambda p, x: vit.apply({'params': p}, x)  # noqa: E731
  else:
    params = jax.eval_shape(lambda p: stacked.stack(p, vit.depth), params)
    function = lambda p, x: stacked.states(vit, p, x)  # noqa: E731
  return jax.jit(function).lower(params, image).as_text()


def test_the_program_of_a_scan_is_as_long_at_any_depth():
  shallow, deep = (vit_test.TINY.clone(depth=n) for n in (2, 12))
  assert program(deep, 'scan').count('\n') == program(
      shallow, 'scan').count('\n')
  assert program(deep, 'loop').count('\n') > 4 * program(
      shallow, 'loop').count('\n')


def taps(weights, batch, **fields):
  """Features of a batch, and the backbone that gave them."""
  config = tiny.config(weights).backbone
  config.update(fields)
  built = backbones.build(config)
  made = jax.jit(backbones.extractor(built))(built.frozen, batch.inputs)
  return np.stack(made.taps), built


@pytest.fixture(scope='module')
def plain(weights, batch):
  return taps(weights, batch)[0]


@pytest.mark.parametrize('blocks', placing.STACKINGS)
def test_a_run_on_a_stack_has_the_features_of_the_loop(
    blocks, weights, batch, plain):
  ours, built = taps(weights, batch, blocks=blocks)
  np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
  stack = jax.tree.leaves(built.frozen['blocks'])
  kinds = {x.sharding.memory_kind for x in stack}
  assert (kinds == {'pinned_host'}) == (blocks == 'host')
  # Adapters, which change states, run on the same weights.
  last = jax.jit(built.apply)(built.frozen, jnp.asarray(batch.inputs))
  np.testing.assert_allclose(last, plain[-1], rtol=1e-5, atol=1e-5)


# How far features may be from those in f32, by norm.
FAR = {'int8': 0.02, 'fp8': 0.06, 'int4': 0.3}


@pytest.mark.parametrize('kind', quantised.KINDS)
def test_quantised_features_are_near(kind, weights, batch, plain):
  ours, built = taps(weights, batch, quantise=kind, blocks='scan')
  far = np.linalg.norm(ours - plain) / np.linalg.norm(plain)
  assert FAR[kind] / 10 < far < FAR[kind]
  kernel = built.frozen['blocks']['mlp']['up']['kernel']
  assert kernel.values.dtype.name == jnp.dtype(quantised.KINDS[kind][0]).name


# Of the tiny backbone, ViT-B, the embedded one, SigLIP So400m; and a prime.
@pytest.mark.parametrize('inputs, tiles', [
    (64, 1), (256, 2), (192, 2), (4304, 269), (257, 1)])
@pytest.mark.parametrize('kind', quantised.KINDS)
def test_a_product_is_that_of_the_kernel_it_stands_for(kind, inputs, tiles):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(1, 3, inputs)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(inputs, 5)), jnp.float32)
  small = quantised.quantise(kernel, kind)
  assert small.scale.shape == (tiles if kind == 'int4' else 1, 5)
  np.testing.assert_allclose(
      quantised.times(x, small), x @ quantised.dequantised(small),
      rtol=1e-5, atol=1e-3 if inputs > 1000 else 1e-4)


@pytest.mark.parametrize('blocks, kind', [('scan', 'int8'), ('host', 'none')])
def test_losa_trains_on_it(blocks, kind, weights, batch):
  config = tiny.config(weights)
  config.backbone.update(blocks=blocks, quantise=kind)
  built = train.build(config)
  assert {x.sharding.memory_kind for x in jax.tree.leaves(
      built.weights['blocks'])} == {
          'pinned_host' if blocks == 'host' else 'device'}
  state, losses = built.state, []
  for _ in range(20):
    state, sums = built.train_step(state, built.frozen, batch)
    losses.append(float(sums.loss))
  assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize('blocks, kind', [
    ('loop', 'none'), ('scan', 'none'), ('host', 'none'), ('scan', 'int8')])
def test_the_host_holds_one_weight_at_a_time(blocks, kind, weights):
  read, most = [], []

  def watched(pairs):
    for path, array in pairs:
      # In one that is cast nothing may stay behind of the one before.
      array = np.array(array)
      read.append(weakref.ref(array))
      most.append(sum(ref() is not None for ref in read))
      yield path, array
      del array

  checkpoint, pairs = loading.opened(weights)
  frozen = placing.collect(
      watched((p, a) for p, a in pairs if p.endswith('kernel')),
      checkpoint.vit.depth, jnp.bfloat16, kind, blocks)
  assert len(read) == 1 + 4 * checkpoint.vit.depth and frozen
  assert max(most) <= 2


def test_shapes_are_those_of_what_is_built(weights):
  for blocks, kind in (('loop', 'none'), ('scan', 'int4')):
    config = tiny.config(weights).backbone
    config.update(blocks=blocks, quantise=kind)
    ours = backbones.shaped(config).frozen
    built = backbones.build(config).frozen
    assert jax.tree.map(lambda x: (x.shape, x.dtype), ours) == jax.tree.map(
        lambda x: (x.shape, x.dtype), built)


@pytest.mark.parametrize('field', ['blocks', 'quantise'])
def test_another_kind_is_refused_with_those_that_are_known(field, weights):
  config = tiny.config(weights).backbone
  config[field] = 'int7'
  with pytest.raises(ValueError, match=rf"{field}='int7' is none of"):
    backbones.build(config)


def test_random_weights_come_by_the_name_of_a_preset():
  config = tiny.config('random:Ti/16').backbone
  config.image_size = 32
  backbone = backbones.build(config)
  assert (backbone.family, backbone.width, backbone.depth) == (
      'random', 192, 12)
  out = jax.jit(backbone.apply)(
      backbone.frozen, jnp.zeros((1, 32, 32, 3), jnp.uint8))
  assert out.shape == (1, 5, 192) and np.isfinite(out).all()


def backbone_of(weights, **fields):
  config = tiny.config(weights).backbone
  config.update(fields)
  return backbones.build(config)


def test_a_part_of_the_pass_runs_on_a_stack(weights, batch, plain):
  images, depth = jnp.asarray(batch.inputs), tiny.VIT.depth
  assert depth > 1
  for blocks in placing.STACKINGS:
    built = backbone_of(weights, blocks=blocks)
    apply = jax.jit(built.apply, static_argnames=('start', 'stop'))
    first = apply(built.frozen, images, stop=2)
    last = apply(built.frozen, first, start=2)
    np.testing.assert_allclose(first, plain[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(last, plain[-1], rtol=1e-5, atol=1e-5)


def test_a_stack_gives_the_states_after_blocks_and_no_others(
    weights, batch, plain):
  built = backbone_of(weights, blocks='scan')
  last = 2 * tiny.VIT.depth
  extract = jax.jit(backbones.extractor(built, (2, last)))
  for ours, block in zip(
      extract(built.frozen, batch.inputs).taps, (0, -1), strict=True):
    np.testing.assert_allclose(ours, plain[block], rtol=1e-5, atol=1e-5)
  for nodes in ((0, 2), (1, last)):
    with pytest.raises(
        ValueError, match=r"config\.backbone\.blocks='scan'.*blocks='loop'"):
      backbones.extractor(built, nodes)


@pytest.mark.parametrize('method', ['full', 'lora', 'ssf', 'sequential'])
@pytest.mark.parametrize(
    'field, value', [('blocks', 'host'), ('quantise', 'int8')])
def test_what_trains_inside_of_blocks_asks_for_the_loop(
    method, field, value, weights):
  config = tiny.config(weights)
  config.method, config.backbone[field] = method, value
  backbone = backbones.shaped(config.backbone)
  with pytest.raises(
      ValueError, match=rf"method='{method}'.*config\.backbone\.{field}="):
    methods.build(config, backbone, tiny.CLASSES)


@pytest.mark.devices(8)
def test_a_stack_is_not_split_and_not_streamed_to_many_hosts(monkeypatch):
  split = sharding.make_mesh(4, 2)
  with pytest.raises(ValueError, match=r"fsdp=2.*config\.backbone\.blocks="):
    build.check_blocks('scan', split)
  build.check_blocks('loop', split)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  build.check_blocks('scan', sharding.make_mesh())
  with pytest.raises(ValueError, match=r"config\.backbone\.blocks='host'"):
    build.check_blocks('host', sharding.make_mesh())
