"""Adapters on edges that are data, against those that were compiled for them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import placement
from lst.backbones import backbone as backbones
from lst.backbones import placing
from lst.backbones.backbone import extractor
from tests import tiny
from tests.placement.conftest import EDGES
from tests.placement.placed_test import LOW

COUNT = 12
RANDOM = placement.select('random', placement.Asked(3, 11, seed=4))
ADAPTER = placement.Adapter(4)


@pytest.fixture(scope='module')
def moved(precise, batch):
  """(params, edges) -> last state and gradients, by one program; its traces."""
  movable, traces = placement.movable(precise, ADAPTER), []
  states = jnp.stack(extractor(precise, range(7))(
      precise.frozen, jnp.asarray(batch.inputs)).taps)
  blocks = movable.blocks(precise.frozen)

  @jax.jit
  def run(params, plan):
    traces.append(plan)

    def total(params):
      last = movable.apply(params, blocks, states, plan)
      return weighed(last), last

    return jax.grad(total, has_aux=True)(params)

  def moved(params, edges):
    return run(params, placement.plan(edges, precise.depth, COUNT))

  return movable, moved, traces


def weighed(last):
  """A sum that every element has another share of."""
  shares = np.random.default_rng(5).normal(size=last.shape)
  return jnp.sum(jnp.float32(shares) * last.astype(jnp.float32))


def placed(backbone, params, edges, images):
  net = placement.place(backbone, edges, ADAPTER)
  params = {
      edge.name: jax.tree.map(lambda x, e=e: x[e], params)
      for e, edge in enumerate(edges)}

  @jax.jit
  def run(params, images):
    features = net.extract(backbone.frozen, images)

    def total(params):
      last = net.resume(params, backbone.frozen, features)
      return weighed(last), last

    return jax.grad(total, has_aux=True)(params)

  grads, last = run(params, images)
  grads = [grads[edge.name] for edge in edges]
  return jax.tree.map(lambda *g: jnp.stack(g), *grads), last


@pytest.mark.parametrize(
    'pairs', [EDGES, LOW, RANDOM, ((5, 5),)],
    ids=['every', 'low', 'random', 'one'])
def test_values_and_gradients_are_those_of_a_network_for_the_edges(
    pairs, precise, moved, batch):
  movable, run, traces = moved
  edges = placement.checked(pairs, precise.depth)
  params = tiny.random_like(movable.init(jax.random.key(0), COUNT), 2, 0.3)
  grads, last = run(params, edges)
  assert len(traces) == 1
  expected, their_last = placed(
      precise, params, edges, jnp.asarray(batch.inputs))
  half = precise.dtype == 'bfloat16'
  scale = np.abs(np.float32(their_last)).max()
  np.testing.assert_allclose(
      np.float32(last) / scale, np.float32(their_last) / scale,
      atol=0.03 if half else 1e-5)
  for (path, ours), theirs in zip(
      jax.tree.leaves_with_path(grads), jax.tree.leaves(expected),
      strict=True):
    name = jax.tree_util.keystr(path)
    # Nothing is learned by those that no edge is left for.
    assert not np.any(ours[len(edges):]), name
    ours, scale = ours[:len(edges)], np.abs(theirs).max()
    assert scale > 1e-3, name
    np.testing.assert_allclose(
        ours / scale, theirs / scale, atol=0.1 if half else 2e-4, err_msg=name)


def test_new_adapters_leave_the_last_state(precise, moved, batch):
  movable, run, _ = moved
  params = movable.init(jax.random.key(0), COUNT)
  plain = precise.apply(precise.frozen, jnp.asarray(batch.inputs))
  for seed in range(3):
    edges = placement.checked(placement.select(
        'random', placement.Asked(3, 9, seed=seed)), 3)
    _, last = run(params, edges)
    np.testing.assert_allclose(
        np.float32(last), np.float32(plain), rtol=1e-2, atol=1e-4)
  # None at all is the last state of the plain pass.
  assert run(params, ())[1].tobytes() == plain.tobytes()


def test_one_adapter_has_the_parameters_of_any_other(backbone):
  movable = placement.movable(backbone, ADAPTER)
  params = movable.init(jax.random.key(0), 3)
  assert params['down'].shape == (3, 4, tiny.VIT.width)
  assert not np.any(params['up']) and np.all(params['alpha'] == 1.0)
  assert len(np.unique(params['down'])) == params['down'].size


@pytest.mark.parametrize('blocks', ['loop', *placing.STACKINGS])
def test_it_runs_outside_of_a_program_however_blocks_are_kept(
    blocks, backbone, weights, batch):
  config = tiny.config(weights).backbone
  config.blocks = blocks
  kept = backbones.build(config)
  edges = placement.checked(LOW, 3)
  states = jnp.stack(extractor(backbone, range(7))(
      backbone.frozen, jnp.asarray(batch.inputs)).taps)
  lasts = []
  for of in (backbone, kept):
    movable = placement.movable(of, ADAPTER)
    params = tiny.random_like(movable.init(jax.random.key(0), 3), 2, 0.3)
    # The arrays of the plan are numpy's.
    lasts.append(jax.value_and_grad(lambda p, m=movable, f=of.frozen: weighed(
        m.apply(p, m.blocks(f), states, placement.plan(edges, 3, 3))))(params))
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
      *lasts)


def test_blocks_on_disk_are_refused(backbone):
  on_disk = backbone._replace(blocks='disk', steps=(None, None))
  with pytest.raises(ValueError, match="blocks='disk' gives each once"):
    placement.movable(on_disk, ADAPTER)


def test_more_edges_than_adapters_are_refused():
  edges = placement.parallel(3)
  with pytest.raises(ValueError, match='6 edges need as many adapters'):
    placement.plan(edges, 3, 5)
