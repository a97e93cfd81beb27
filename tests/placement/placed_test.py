"""Adapters on edges against a plain oracle of two whole passes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import build, inputs, losses, method, placement, sharding
from lst.backbones import backbone as backbones
from lst.backbones import placing
from lst.backbones.backbone import extractor
from lst.features import Features
from tests import tiny
from tests.placement.conftest import EDGES

D = tiny.VIT.width
LOW = ((6, 4), (5, 5), (2, 4))


def adapted(backbone, edges, rank=4):
  edges = placement.checked(edges, backbone.depth)
  config = tiny.config('', ('placed', 'losa'))
  placed = placement.place(backbone, edges, placement.Adapter(rank))
  return method.adapted(placed, method.head(config, backbone, tiny.CLASSES))


def started(built, backbone, batch, scale=0.0):
  """Parameters with a random head; with `scale`, random adapters as well."""
  params = jax.jit(built.init)(
      jax.random.key(0), backbone.frozen, batch.inputs)
  params['head'] = tiny.random_like(params['head'], seed=1)
  if scale:
    params['adapters'] = tiny.random_like(params['adapters'], 2, scale)
  return params


def naive(backbone, edges, params, images):
  """Two whole passes in f32, one adapter after the other."""
  def adapter(edge, x):
    p = params[f'{edge[0]}_{edge[1]}']
    x = x.astype(jnp.float32)
    h = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(
        x.var(-1, keepdims=True) + 1e-6)
    h = h * p['norm']['scale'] + p['norm']['bias']
    return p['alpha'] * (jax.nn.gelu(h @ p['down'].T, False) @ p['up'])

  first, second = {}, {}

  def plain(k, x):
    first[k] = x
    return x

  def at(k, x):
    z = x
    for i, j in edges:
      if j == k and i < k:
        z = z + adapter((i, j), second[i])
    for i, j in edges:
      if j == k and i > k:
        z = z + adapter((i, j), first[i])
    if (k, k) in edges:
      z = z + adapter((k, k), z)
    second[k] = z
    return z

  backbone.apply(backbone.frozen, images, plain)
  return backbone.apply(backbone.frozen, images, at)


@pytest.mark.as_users
@pytest.mark.parametrize('seed', [0, 1, 11])
def test_new_adapters_leave_the_logits_to_the_bit(seed, precise, batch):
  edges = placement.select('random', placement.Asked(
      precise.depth, (1, 9, 20)[seed % 3], seed=seed))
  ours = adapted(precise, placement.checked(edges, 3))
  plain, images = adapted(precise, ()), jnp.asarray(batch.inputs)
  params = started(ours, precise, batch)
  predict = jax.jit(ours.predict)
  logits = predict(params, precise.frozen, images)
  expected = jax.jit(plain.predict)(
      {**params, 'adapters': {}}, precise.frozen, images)
  assert np.abs(expected).max() > 0.1
  assert np.asarray(logits).tobytes() == np.asarray(expected).tobytes()
  # And it is the adapters that could change them.
  moved = predict(started(ours, precise, batch, 0.4), precise.frozen, images)
  assert np.abs(moved - logits).max() > 1e-3


@pytest.mark.parametrize('edges', [EDGES, LOW], ids=['every', 'low'])
def test_values_and_gradients_are_those_of_two_whole_passes(
    edges, backbone, batch):
  ours = adapted(backbone, edges)
  params = started(ours, backbone, batch, 0.3)
  images = jnp.asarray(batch.inputs)
  head = method.head(tiny.config('', ('placed', 'losa')), backbone,
                     tiny.CLASSES)

  def theirs(params, frozen, images):
    last = naive(
        backbone, sorted(edges, key=lambda e: e[::-1]), params['adapters'],
        images)
    norm = ours.extract(frozen, images).norm
    return head.apply({'params': {'head': params['head']}},
                      Features((last,), norm))

  def total(predict, params):
    logits = predict(params, backbone.frozen, images)
    return losses.cross_entropy(
        logits, jnp.asarray(batch.label)).sum(), logits

  (a, b) = (
      jax.jit(jax.grad(functools.partial(total, f), has_aux=True))(params)
      for f in (ours.predict, theirs))
  np.testing.assert_allclose(a[1], b[1], rtol=1e-4, atol=1e-4)
  for (path, x), y in zip(
      jax.tree.leaves_with_path(a[0]), jax.tree.leaves(b[0]), strict=True):
    scale = np.abs(y).max()
    assert scale > 1e-5, jax.tree_util.keystr(path)
    np.testing.assert_allclose(x / scale, y / scale, atol=2e-4)


def test_the_order_on_a_shared_state_matters(backbone, batch):
  """The oracle tells the sequential adapter ahead of the additions apart."""
  edges = placement.checked(((0, 3), (3, 3)), backbone.depth)
  ours = adapted(backbone, edges)
  params = started(ours, backbone, batch, 0.4)['adapters']
  images = jnp.asarray(batch.inputs)
  right = naive(backbone, edges, params, images)
  swapped = naive(
      backbone, [(3, 3)], {'3_3': params['3_3']}, images) + naive(
          backbone, [(0, 3)], {'0_3': params['0_3']}, images) - naive(
              backbone, [], {}, images)
  assert np.abs(right - swapped).max() > 1e-2


def test_gradients_in_both_precisions(precise, batch):
  ours = adapted(precise, EDGES)
  params = started(ours, precise, batch, 0.3)

  @jax.jit
  def grads(params, frozen, images, labels):
    def total(params):
      return losses.cross_entropy(
          ours.predict(params, frozen, images), labels).sum()
    return jax.grad(total)(params)

  for g in jax.tree.leaves(grads(
      params, precise.frozen, batch.inputs, batch.label)):
    assert g.dtype == jnp.float32 and np.isfinite(g).all()
    assert np.abs(g).max() > 1e-5


@pytest.mark.as_users
def test_parts_of_the_backbone_are_its_whole(precise, batch):
  images = jnp.asarray(batch.inputs)
  states = extractor(precise, range(7))(precise.frozen, images).taps
  whole = precise.apply(precise.frozen, images)
  for start in range(7):
    seen = []

    def at(k, x, seen=seen):
      seen.append(k)
      return x

    last = precise.apply(precise.frozen, states[start], at, start=start)
    assert seen == list(range(start, 7))
    np.testing.assert_array_equal(last, whole)
    seen.clear()
    stopped = precise.apply(precise.frozen, images, at, stop=start)
    assert seen == list(range(start + 1))
    np.testing.assert_array_equal(stopped, states[start])


@pytest.fixture(scope='module')
def runs(weights):
  """Three steps of training with the plain pass online, and from a cache."""
  return [_trained(weights, mode) for mode in ('off', 'ram')]


def _trained(weights, mode):
  config = tiny.config(weights, ('placed', 'losa'))
  config.data.train, config.data.test = 'train[:24]', 'test[:8]'
  config.placement.edges = LOW
  config.cache.mode, config.train.epochs = mode, 3.0
  built, batches_of = inputs.open_(config, build.build(config))
  state, batches = built.state, batches_of.train(0)
  for _ in range(3):
    ready = batches_of.ready(sharding.put_batch(next(batches), built.mesh))
    state, sums = built.train_step(state, built.frozen, ready)
  batches.close()
  return batches_of, state.params, sums


@pytest.mark.as_users
def test_a_cached_plain_pass_is_the_online_one(runs):
  (online, *ours), (cached, *theirs) = runs
  assert online.online and not cached.online
  # States 2, 4 and 6 in place of an image.
  assert [x.shape for x in cached.shapes] == [(tiny.TOKENS, D)] * 3
  for a, b in zip(
      jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
  moved = ours[0]['adapters']['6_4']['up']
  assert np.abs(moved).max() > 1e-4


@pytest.mark.parametrize('blocks', placing.STACKINGS)
def test_a_stack_takes_edges_that_need_states_after_blocks(
    blocks, weights, backbone, batch):
  config = tiny.config(weights, ('placed', 'losa'))
  config.backbone.blocks = blocks
  of_stack = backbones.build(config.backbone)
  with pytest.raises(ValueError, match=r"blocks='loop'"):
    method.build(config, of_stack, tiny.CLASSES)
  config.placement.edges, logits = LOW, []
  for of in (backbone, of_stack):
    made = method.build(config, of, tiny.CLASSES)
    params = started(made, of, batch, 0.3)
    logits.append(jax.jit(made.predict)(params, of.frozen, batch.inputs))
  np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)


def test_costs_are_those_that_are_counted(backbone):
  adapter = placement.Adapter(4)
  plain = placement.costs(backbone, (), adapter)
  assert plain.forwards == 1.0 and plain.parameters == 0
  edges = placement.checked(LOW, backbone.depth)
  costs = placement.costs(backbone, edges, adapter)
  # From state 4 on there is a third of the blocks.
  assert 1.25 < costs.forwards < 1.34
  assert costs.cached == pytest.approx(costs.forwards - 1.0)
  assert costs.step == pytest.approx(costs.forwards + costs.cached)
  assert costs.parameters == 3 * (2 * D * 4 + 2 * D + 1)
  built = adapted(backbone, edges)
  image = jax.ShapeDtypeStruct((1, tiny.SIZE, tiny.SIZE, 3), jnp.uint8)
  params = jax.eval_shape(
      built.init, jax.random.key(0), backbone.frozen, image)
  counted = jax.jit(built.predict).lower(
      params, backbone.frozen, image).cost_analysis()['flops']
  assert costs.flops == pytest.approx(counted, rel=0.02)


def test_latency_is_of_the_call():
  assert placement.latency(lambda x: x + 1, jnp.ones(3), repeats=3) > 0


def test_a_second_pass_without_parameters(backbone, batch):
  """Rank 0: the normed state of the plain pass, added, and only a head."""
  config = tiny.config('', ('placed', 'losa'))
  config.placement.update(edges=((6, 2),), rank=0, alpha=0.5)
  made = method.build(config, backbone, tiny.CLASSES)
  images, frozen = jnp.asarray(batch.inputs), backbone.frozen
  params = started(made, backbone, batch)
  assert not jax.tree.leaves(params['adapters'])
  states = {}

  def plain(k, x):
    states[k] = x
    return x

  def adapted_at(k, x):
    if k != 2:
      return x
    z = np.asarray(states[6], np.float64)
    z = z - z.mean(-1, keepdims=True)
    return x + 0.5 * z / np.sqrt((z * z).mean(-1, keepdims=True) + 1e-6)

  backbone.apply(frozen, images, plain)
  last = backbone.apply(frozen, images, adapted_at)
  norm = made.extract(frozen, images).norm
  expected = method.head(config, backbone, tiny.CLASSES).apply(
      {'params': {'head': params['head']}}, Features((last,), norm))
  np.testing.assert_allclose(
      made.predict(params, frozen, images), expected, rtol=1e-4, atol=1e-5)
  assert np.abs(last - states[6]).max() > 1e-2
