"""Three decisions: the mesh, the state, the batch; and what they cost."""

import functools
import math
import re

import jax
import numpy as np
import optax
import pytest

from lst import losses, sharding, step, train
from lst import method as methods
from lst.method import Method
from tests import tiny

COLLECTIVES = (
    'all-reduce', 'all-gather', 'all-to-all', 'reduce-scatter',
    'collective-permute', 'collective-broadcast', 'ragged-all-to-all')
pytestmark = pytest.mark.devices(8)


@pytest.fixture(scope='module')
def built(weights):
  return train.build(tiny.config(weights))


def collectives(text: str) -> list[tuple[str, int]]:
  """(kind, elements) of every array that a compiled program communicates."""
  kinds = '|'.join(COLLECTIVES)
  found = []
  for line in text.splitlines():
    match = re.search(rf'= (.*?) ({kinds})(-start)?\(', line)
    if match:
      shapes = re.findall(r'\w+\[([\d,]*)\]', match[1])
      found += [
          (match[2], math.prod(int(n) for n in s.split(',') if n))
          for s in shapes]
  return found


def text_of(built, batch, params, predict):
  """The compiled step on 8 devices that trains `params` of `predict`."""
  optimizer = optax.adamw(1e-3)
  everywhere = sharding.replicated(built.mesh)
  state = step.TrainState(np.int32(0), params, optimizer.init(params))
  train_step = jax.jit(
      functools.partial(
          step.train_step, predict=predict, loss=losses.cross_entropy,
          optimizer=optimizer),
      out_shardings=everywhere)
  placed = sharding.put_batch(batch, built.mesh)
  state = jax.device_put(state, everywhere)
  return train_step.lower(state, built.frozen, placed).compile().as_text()


@pytest.mark.parametrize('devices, fsdp, sizes, shape', [
    (8, 1, (64, 128), (8,)), (8, 1, (64, 100), (4,)), (8, 2, (64, 128), (4, 2)),
    (8, 4, (12, 12), (1, 4)), (6, 4, (12, 12), (6,)), (8, 8, (100, 100), (1,)),
    (1, 8, (64, 64), (1,)), (8, 1, (7, 7), (7,))])
def test_the_mesh_of_a_cache_fits_its_batches(devices, fsdp, sizes, shape):
  mesh = sharding.fitting_mesh(jax.devices()[:devices], fsdp, sizes)
  assert tuple(mesh.shape.values()) == shape


def test_the_mesh_is_every_device_on_one_axis():
  mesh = sharding.make_mesh()
  assert dict(mesh.shape) == {'data': 8}
  assert list(mesh.devices) == jax.devices()


def test_each_device_gets_its_own_rows_and_no_others(batch):
  mesh = sharding.make_mesh()
  batch = tiny.batch(examples=16)
  placed = sharding.put_batch(batch, mesh)
  for whole, array in zip(batch, placed, strict=True):
    assert array.shape == whole.shape and array.dtype == whole.dtype
    shards = array.addressable_shards
    assert [s.device for s in shards] == list(mesh.devices)
    for i, shard in enumerate(shards):
      assert shard.data.devices() == {mesh.devices[i]}
      np.testing.assert_array_equal(shard.data, whole[2 * i:2 * i + 2])


def test_frozen_and_state_are_whole_on_every_device(built, batch):
  placed = sharding.put_batch(batch, built.mesh)
  after, sums = built.train_step(
      tiny.copied(built.state), built.frozen, placed)
  scored = built.eval_step(after.params, built.frozen, placed)
  for tree in (built.frozen, built.state, after, sums, scored):
    for leaf in jax.tree.leaves(tree):
      assert leaf.sharding.is_fully_replicated
      assert len(leaf.sharding.device_set) == 8
  # A batch is not: the check can tell.
  assert not placed.inputs.sharding.is_fully_replicated


@pytest.mark.parametrize('field', ['batch_size', 'eval_batch_size'])
def test_a_batch_that_does_not_divide_names_its_field(field, weights):
  config = tiny.config(weights)
  config.train[field] = 12
  with pytest.raises(
      ValueError, match=rf'config\.train\.{field}=12 .* 8 devices.*multiple'):
    train.build(config)
  config.train[field] = 24
  train.build(config)


def kernel_sizes(frozen) -> list[int]:
  return [leaf.size for path, leaf in jax.tree.leaves_with_path(frozen)
          if path[-1].key == 'kernel']


def check_communicated(text: str, params, frozen) -> None:
  """What a compiled step sends around are gradients of `params`, and sums.

  Raises:
    AssertionError: there is more, such as states or weights of the backbone.
  """
  found = collectives(text)
  assert {kind for kind, _ in found} == {'all-reduce'}, found
  leaves = [p.size for p in jax.tree.leaves(params)]
  largest = max(size for _, size in found)
  # Weights that act side by side are communicated as one.
  assert largest <= sum(leaves)
  # A weight that acts twice is communicated for each use, and then added up.
  assert sum(size for _, size in found) <= 2 * sum(leaves) + 8
  # So nothing is as large as a kernel of the backbone, or as one image's state,
  # but for a weight of such a size: the values of the attentive probe.
  least = min(*kernel_sizes(frozen), tiny.TOKENS * tiny.VIT.width)
  if max(leaves) < least:
    assert largest < least
  else:
    assert sorted(size for _, size in found if size >= least) == sorted(
        size for size in leaves if size >= least)


@pytest.mark.parametrize('entry', tiny.SIDE_CASES, ids=tiny.case_id)
def test_only_side_gradients_and_metrics_are_communicated(
    entry, weights, batch):
  built = train.build(tiny.config(weights, entry))
  placed = sharding.put_batch(batch, built.mesh)
  text = built.train_step.lower(
      built.state, built.frozen, placed).compile().as_text()
  check_communicated(text, built.state.params, built.frozen)


def everywhere(mesh, k, x):
  """All images' states on every device."""
  del k
  return jax.lax.with_sharding_constraint(x, sharding.replicated(mesh))


def normalised(mesh, k, x):
  """As by the statistics of a batch."""
  del mesh
  return x - x.mean(0, keepdims=True) if k == 2 else x


def rolled(mesh, k, x):
  """A part of every image beside the next one."""
  del mesh
  return jax.numpy.roll(x, 1, axis=0) if k == 1 else x


@pytest.mark.parametrize('hook', [everywhere, normalised, rolled])
def test_a_collective_over_states_of_the_backbone_does_not_pass(
    hook, built, batch):
  """Whoever adds one sees the test above fail."""
  apply = built.backbone.apply

  def changed(frozen, images, at, **ends):
    return apply(
        frozen, images, lambda k, x: at(k, hook(built.mesh, k, x)), **ends)

  config = tiny.config('', tiny.SIDE_CASES[0])
  method = methods.build(
      config, built.backbone._replace(apply=changed), tiny.CLASSES)
  params = built.state.params
  check_communicated(
      text_of(built, batch, params, built.method.predict), params, built.frozen)
  with pytest.raises(AssertionError):
    check_communicated(
        text_of(built, batch, params, method.predict), params, built.frozen)


def test_a_collective_over_weights_of_the_backbone_does_not_pass(built, batch):
  """Training the backbone sends tensors of its size; sharding it gathers."""
  def whole(params, frozen, images):
    del frozen
    x = built.backbone.apply(params['backbone'], images)
    return x.mean(1) @ params['head']

  full = Method(None, whole)
  head = np.ones((tiny.VIT.width, tiny.CLASSES), np.float32)
  text = text_of(
      built, batch, {'backbone': built.frozen, 'head': head}, full.predict)
  kernels = kernel_sizes(built.frozen)
  assert len(kernels) == 4 * tiny.VIT.depth + 1
  assert max(size for _, size in collectives(text)) >= min(kernels)
  # As if the head alone were trained.
  with pytest.raises(AssertionError):
    check_communicated(text, {'head': head}, built.frozen)

  rows = sharding.batched(built.mesh)
  split = built._replace(frozen=jax.tree.map(
      lambda x: jax.device_put(x, rows) if x.shape[0] % 8 == 0 else x,
      built.frozen))
  params = built.state.params
  text = text_of(split, batch, params, built.method.predict)
  with pytest.raises(AssertionError, match='all-gather'):
    check_communicated(text, params, built.frozen)


# The least that every kernel of `tiny.VIT` has.
MIN_SIZE = 500


@pytest.fixture(scope='module')
def split(weights):
  """The parts of a run whose backbone lies in two parts."""
  config = tiny.config(weights)
  config.mesh.fsdp, config.mesh.min_size = 2, MIN_SIZE
  return train.build(config)


def test_the_backbone_is_split_and_what_is_trained_is_not(split):
  assert dict(split.mesh.shape) == {'data': 4, 'fsdp': 2}
  large = [x for x in jax.tree.leaves(split.weights) if x.size >= MIN_SIZE]
  assert len(large) == 4 * tiny.VIT.depth + 1
  for leaf in jax.tree.leaves(split.weights):
    parts = 2 if leaf.size >= MIN_SIZE else 1
    assert all(s.data.size * parts == leaf.size
               for s in leaf.addressable_shards)
  for leaf in jax.tree.leaves(split.state):
    assert leaf.sharding.is_fully_replicated
  placed = sharding.put_batch(tiny.batch(), split.mesh)
  assert {s.data.shape[0] for s in placed.inputs.addressable_shards} == {1}


def test_a_split_backbone_gives_the_same_features(split, built, batch):
  def features(of):
    placed = sharding.put_batch(batch, of.mesh)
    return jax.jit(of.method.extract)(of.weights, placed.inputs)

  jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
      features(split), features(built))


def test_a_split_backbone_is_gathered_leaf_by_leaf_and_nothing_else(
    split, batch):
  placed = sharding.put_batch(batch, split.mesh)
  text = split.train_step.lower(
      split.state, split.frozen, placed).compile().as_text()
  found = collectives(text)
  assert {kind for kind, _ in found} == {'all-reduce', 'all-gather'}
  gathered = [size for kind, size in found if kind == 'all-gather']
  kernels = kernel_sizes(split.frozen)
  assert max(gathered) == max(kernels) and min(gathered) >= min(kernels)
  # Each once: no activation, and no weight a second time.
  assert sum(gathered) == sum(kernels)
  reduced = [size for kind, size in found if kind == 'all-reduce']
  assert max(reduced) <= max(p.size for p in jax.tree.leaves(
      split.state.params))


def test_features_are_made_without_a_word_between_devices(built, batch):
  placed = sharding.put_batch(batch, built.mesh)
  text = jax.jit(built.method.extract).lower(
      built.weights, placed.inputs).compile().as_text()
  assert not collectives(text)


@pytest.mark.parametrize(('data', 'fsdp', 'shape'), [
    (-1, 1, {'data': 8}), (-1, 4, {'data': 2, 'fsdp': 4}), (3, 1, {'data': 3}),
    (2, 2, {'data': 2, 'fsdp': 2})])
def test_meshes_of_all_devices_or_fewer(data, fsdp, shape):
  assert dict(sharding.make_mesh(data, fsdp).shape) == shape


@pytest.mark.parametrize(('data', 'fsdp'), [
    (-1, 3), (-1, 0), (16, 1), (5, 2), (0, 1), (-1, 16)])
def test_meshes_that_cannot_be_name_their_fields(data, fsdp):
  with pytest.raises(ValueError, match=r'config\.mesh'):
    sharding.make_mesh(data, fsdp)
