"""Scores of all edges against real linear adapters, and against numpy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import losses, method, placement
from lst.features import Features, Norm
from tests import tiny

D, STATES = tiny.VIT.width, 2 * tiny.VIT.depth + 1
KINDS = [(0, 0), (3, 3), (6, 6), (0, 1), (4, 5), (1, 5), (0, 6), (3, 2), (5, 1),
         (6, 0), (6, 5)]


class Bare(nn.Module):
  """A linear adapter without a layer norm, x W with W = 0."""

  @nn.compact
  def __call__(self, x):
    w = self.param('w', nn.initializers.zeros, (x.shape[-1], x.shape[-1]))
    return x.astype(jnp.float32) @ w


def loss_of(backbone, pool='cls'):
  config = tiny.config('', ('placed', 'losa'), pool=pool)
  head = method.head(config, backbone, tiny.CLASSES)
  params = tiny.random_like(
      {'kernel': jnp.zeros((D, tiny.CLASSES)), 'bias': jnp.zeros(tiny.CLASSES)})
  norm = backbone.frozen['norm']

  def loss(last, labels, params=params):
    logits = head.apply(
        {'params': {'head': params}}, Features(
            (last,), Norm(
                norm['scale'], norm['bias'], backbone.eps)))
    return losses.cross_entropy(logits, jnp.asarray(labels)).sum()

  return loss


def states_of(backbone, batch, edges=(), params=None, pool='cls'):
  placed = placement.place(
      backbone, edges, placement.Adapter(4), whole=True)
  return jax.device_get(jax.jit(placement.states(
      placed, loss_of(backbone, pool)))(
          params or {}, backbone.frozen, batch.inputs, batch.label))


@pytest.fixture(scope='module')
def seen(backbone, batch):
  return states_of(backbone, batch)


def matrix(states, source, target):
  """x_i^T (dL / dx_j) in double precision."""
  kind = states.plain if source > target else states.adapted
  rows = (np.float64(x).reshape(-1, D) for x in (
      kind[source], states.gradients[target]))
  return np.matmul(next(rows).T, next(rows))


@pytest.mark.parametrize('pair', KINDS, ids=str)
def test_the_gradient_is_that_of_a_real_linear_adapter(
    pair, seen, backbone, batch):
  edge = placement.Edge(*pair)
  placed = placement.place(backbone, (edge,), Bare())
  features = placed.extract(backbone.frozen, jnp.asarray(batch.inputs))
  loss = loss_of(backbone)

  def total(w):
    last = placed.resume({edge.name: {'w': w}}, backbone.frozen, features)
    return loss(last, batch.label)

  gradient = jax.grad(total)(jnp.zeros((D, D)))
  expected = matrix(seen, *pair)
  scale = np.abs(expected).max()
  assert scale > 1e-3
  np.testing.assert_allclose(gradient / scale, expected / scale, atol=2e-5)


@pytest.mark.parametrize('pair', [(4, 4), (2, 3), (0, 5), (6, 1)], ids=str)
def test_the_gradient_is_the_finite_difference(pair, seen, backbone, batch):
  edge = placement.Edge(*pair)
  placed = placement.place(backbone, (edge,), Bare())
  features = placed.extract(backbone.frozen, jnp.asarray(batch.inputs))
  loss = loss_of(backbone)
  way = np.random.default_rng(3).normal(size=(D, D)) / D
  step = 1e-2

  def total(size):
    last = placed.resume(
        {edge.name: {'w': jnp.float32(size * way)}}, backbone.frozen, features)
    return float(loss(last, batch.label))

  found = (total(step) - total(-step)) / (2 * step)
  assert found == pytest.approx(np.sum(way * matrix(seen, *pair)), rel=2e-2)


def test_adapters_that_learned_something_are_scored_beside(backbone, batch):
  """Edges forward read adapted states, recurrent ones those of a plain pass."""
  edges = placement.checked([(0, 1), (3, 3), (5, 2)], backbone.depth)
  placed = placement.place(backbone, edges, placement.Adapter(4))
  params = tiny.random_like(placed.init(jax.random.key(0)))
  seen = states_of(backbone, batch, edges, params)
  images = jnp.asarray(batch.inputs)

  class Either(placement.Adapter):
    """`Bare` for a new edge, the trained adapters for the others."""

    def __call__(self, x):
      if self.has_variable('params', 'w'):
        return x.astype(jnp.float32) @ self.get_variable('params', 'w')
      return super().__call__(x)

  def total(w, edge):
    more = placement.checked([*edges, edge], backbone.depth)
    both = placement.place(backbone, more, Either(4))
    features = both.extract(backbone.frozen, images)
    last = both.resume(
        params | {edge.name: {'w': w}}, backbone.frozen, features)
    return loss_of(backbone)(last, batch.label)

  for edge in map(placement.Edge._make, [(1, 4), (3, 5), (5, 1)]):
    gradient = jax.grad(total)(jnp.zeros((D, D)), edge)
    expected = matrix(seen, *edge)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient / scale, expected / scale, atol=2e-5)


@pytest.mark.parametrize('pool', ['cls', 'patches'])
@pytest.mark.parametrize('count', [1, 2])
def test_spectra_are_those_of_numpy(pool, count, backbone):
  batches = [
      states_of(backbone, tiny.batch(seed), pool=pool) for seed in range(count)]
  # Of one source at a time, and of all.
  values, whole = (
      placement.spectra(batches, chunk_bytes=size) for size in (1, 2**28))
  np.testing.assert_allclose(values, whole, rtol=1e-5, atol=1e-5)
  assert values.shape == (STATES, STATES, D)
  for i in range(STATES):
    for j in range(STATES):
      total = sum(matrix(b, i, j) for b in batches)
      expected = np.linalg.svd(total, compute_uv=False)
      np.testing.assert_allclose(
          values[i, j], expected, atol=3e-6 * expected[0])
  ranks = np.sum(values[:, -1] > 1e-5 * values[:, -1, :1], -1)
  if pool == 'cls':
    # One row an example.
    assert 0 < ranks.max() <= 8 * count < D


def test_spectra_in_bf16_are_near(precise, batch, seen):
  values = placement.spectra([states_of(precise, batch)])
  exact = placement.spectra([seen])
  top = values[..., 0] / exact[..., 0]
  assert np.abs(np.log(top)).max() < 0.2


def test_a_zero_head_is_refused(backbone, batch, seen):
  empty = seen._replace(
      gradients=tuple(np.zeros_like(g) for g in seen.gradients))
  with pytest.raises(ValueError, match='head of the task is all zeros'):
    placement.spectra([empty])


def test_scores_of_known_values():
  values = np.zeros((2, 2, 4))
  values[0, 0] = 2.0
  values[0, 1, 0] = 3.0
  values[1, 0] = [4.0, 3.0, 0.05, 0.01]
  expected = {
      'srank': [[4, 1], [2, 0]],
      'stable_rank': [[4, 1], [(25 + 0.0026) / 16, 0]],
      'entropy_rank': [[4, 1], [None, 0]],
      'nuclear': [[8, 3], [7.06, 0]],
      'frobenius': [[4, 3], [np.sqrt(25.0026), 0]],
      'spectral': [[2, 3], [4, 0]]}
  assert set(expected) == set(placement.SCORES)
  p = values[1, 0] / 7.06
  expected['entropy_rank'][1][0] = np.exp(-np.sum(p * np.log(p)))
  for name, scores in expected.items():
    np.testing.assert_allclose(
        placement.scored(values, name), scores, rtol=1e-12, err_msg=name)
  # 0.06 of 7.06 is 0.85 %.
  assert placement.scored(values, 'srank', eta=0.005)[1, 0] == 3
  assert placement.scored(values, 'srank', eta=0.0)[1, 0] == 4


@pytest.mark.parametrize('name, eta, words', [
    ('rank', 0.01, "'rank' is no score"), ('srank', 1.0, 'eta=1.0')])
def test_unknown_scores_are_refused(name, eta, words):
  with pytest.raises(ValueError, match=words):
    placement.scored(np.zeros((1, 1, 1)), name, eta)
