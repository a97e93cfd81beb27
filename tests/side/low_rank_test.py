"""`LowRank` against its full-width oracle: values, gradients, memory."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import Features, Linear, LowRank, Norm, SideNetwork
from lst.side import low_rank, refined
from tests import tiny
from tests.side import oracle

B, N, D, L = 3, 7, 12, 5


def make_features():
  taps = tuple(tiny.normal(B, N, D, seed=i) for i in range(L))
  norm = Norm(
      1 + 0.3 * tiny.normal(D, seed=L), 0.3 * tiny.normal(D, seed=L + 1), 1e-6)
  return Features(taps, norm)


FIELDS = ('residual', 'first', 'token_mixing', 'use_bias', 'tap_norm')
# Every pair of values of two fields meets in one of these.
OPTIONS = [
    dict(zip(FIELDS, values, strict=True)) for values in (
        ('running', 'channel', True, False, False),
        ('running', 'channel', False, True, True),
        ('running', 'token', True, True, False),
        ('running', 'token', False, False, True),
        ('figure', 'channel', True, True, True),
        ('figure', 'channel', False, False, False),
        ('figure', 'token', True, False, True),
        ('figure', 'token', False, True, False),
        ('sum', 'channel', True, True, False),
        ('sum', 'channel', False, False, True),
        ('sum', 'token', True, False, False),
        ('sum', 'token', False, True, True),
    )
]


@pytest.mark.parametrize(
    'options', OPTIONS, ids=lambda o: '-'.join(str(v) for v in o.values()))
def test_equals_the_full_width_form(options):
  features = make_features()
  module = LowRank(rank=3, activation='gelu', **options)
  params = tiny.scrambled(module, features)
  pool, norm = 'mean', features.norm

  def low_rank(params, features):
    y = module.apply({'params': params}, module.prepare(features))
    return refined.pooled(y, pool, 0, norm)

  def full_width(params, features):
    return oracle.pooled(
        oracle.tokens(params, features.taps, module), pool, 0, norm)

  @functools.partial(jax.jit, static_argnums=0)
  def with_gradients(f, params, features):
    y, pull = jax.vjp(lambda params: f(params, features), params)
    return y, pull(tiny.normal(B, D, seed=5))[0]

  (y, ours), (expected, theirs) = (
      with_gradients(f, params, features) for f in (low_rank, full_width))
  np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)
  scale = max(jnp.abs(x).max() for x in jax.tree.leaves(theirs))
  for a, b in zip(
      jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * float(scale))


def test_gradients_of_the_taps_equal_the_full_width_form():
  """Nobody needs them here; a wrong one would be worse than none."""
  features = make_features()
  module = LowRank(rank=3, first='token')
  params = tiny.scrambled(module, features)
  target = tiny.normal(B, D, seed=5)

  def low_rank(taps):
    y = module.apply(
        {'params': params}, module.prepare(features._replace(taps=taps)))
    return jnp.sum(refined.pooled(y, 'cls', 0, features.norm) * target)

  def full_width(taps):
    y = oracle.tokens(params, taps, module)
    return jnp.sum(oracle.pooled(y, 'cls', 0, features.norm) * target)

  for a, b in zip(*(
      jax.jit(jax.grad(f))(features.taps) for f in (low_rank, full_width)),
      strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize('pool', ['cls', 'mean', 'patches'])
@pytest.mark.parametrize('normed', [True, False])
def test_pooling_equals_the_full_width_form(pool, normed):
  features = make_features()
  module = LowRank(rank=2)
  params = tiny.scrambled(module, features)

  @jax.jit
  def both(params, features):
    norm = features.norm if normed else None
    y = module.apply({'params': params}, module.prepare(features))
    tokens = oracle.tokens(params, features.taps, module)
    return (refined.pooled(y, pool, 2, norm),
            oracle.pooled(tokens, pool, 2, norm))

  np.testing.assert_allclose(
      *both(params, features), rtol=2e-5, atol=2e-5)


def test_starts_as_the_frozen_features():
  features = make_features()
  for residual, start in (
      ('running', features.taps[-1]),
      ('figure', features.taps[-1] + sum(features.taps)),
      ('sum', features.taps[-1])):
    module = LowRank(rank=2, residual=residual)

    @jax.jit
    def started(features, module=module):
      prepared = module.prepare(features)
      y, _ = module.init_with_output(jax.random.key(0), prepared)
      return refined.pooled(y, 'mean', 0, None)

    np.testing.assert_allclose(
        started(features), start.mean(1), atol=1e-6)


def test_the_head_starts_at_zero_and_every_parameter_learns():
  features = make_features()
  network = SideNetwork(LowRank(rank=2), classes=4)
  logits, _ = jax.jit(network.init_with_output)(jax.random.key(0), features)
  np.testing.assert_array_equal(logits, 0.0)
  params = {'params': tiny.scrambled(network, features)}
  grads = jax.jit(jax.grad(
      lambda p: jnp.sum(network.apply(p, features)[:, 1])))(params)
  for path, g in jax.tree.leaves_with_path(grads):
    assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize('rank', [4, 8, 16])
def test_parameter_count_is_the_formula_of_the_paper(rank):
  features = make_features()
  params = jax.eval_shape(
      LowRank(rank=rank).init, jax.random.key(0), features)['params']
  counted = sum(p.size for p in jax.tree.leaves(params))
  channels, tokens = -(-L // 2), L // 2
  assert counted == channels * 2 * D * rank + tokens * 2 * N * rank + L


def test_bf16_features_stay_close_to_f32():
  features = make_features()
  network = SideNetwork(LowRank(rank=3), classes=4, pool='mean')
  params = {'params': tiny.scrambled(network, features)}
  half = features._replace(
      taps=tuple(t.astype(jnp.bfloat16) for t in features.taps))
  apply = jax.jit(network.apply)
  a, b = apply(params, features), apply(params, half)
  assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


def _full_width_writes(method, pool='cls', n=61, d=97):
  ones = jnp.ones(d)
  features = Features((jnp.ones((2, n, d)),) * 3, Norm(ones, ones, 1e-6))
  network = SideNetwork(LowRank(rank=2), classes=3, pool=pool)
  params = jax.eval_shape(network.init, jax.random.key(0), features)
  step = jax.grad(lambda p, f: network.apply(p, f, method=method).sum())
  text = jax.jit(step).lower(params, features).compile().as_text()
  size = 2 * n * d
  written = []
  # What fusions compute inside is not written.
  for line in text[text.index('ENTRY'):].splitlines():
    match = re.search(r'= \w+\[([\d,]+)\]\S* (\w[\w-]*)\(', line)
    if not match or match[2] in ('parameter', 'bitcast', 'get-tuple-element'):
      continue
    if math.prod(int(x) for x in match[1].split(',')) >= size:
      written.append(line.strip())
  return written


@pytest.mark.as_users
@pytest.mark.parametrize('pool', ['cls', 'mean'])
def test_no_tensor_of_tokens_by_channels_is_written(pool):
  assert not _full_width_writes('readout', pool)
  # From raw taps, b_i + b_L is formed: the check does see such tensors.
  assert _full_width_writes(None, pool)


@pytest.mark.as_users
@pytest.mark.parametrize('residual', low_rank.RESIDUALS)
def test_prepared_features_give_the_same_bits(residual):
  features = make_features()
  for side in (LowRank(rank=2, residual=residual), Linear()):
    network = SideNetwork(side, classes=4, pool='mean')
    params = {'params': tiny.scrambled(network, features)}
    prepared = jax.jit(network.prepare)(features)
    readout = functools.partial(network.apply, method='readout')
    np.testing.assert_array_equal(
        jax.jit(network.apply)(params, features),
        jax.jit(readout)(params, prepared))


def test_what_a_probe_reads_is_one_row_an_image():
  prepared = SideNetwork(Linear(), 4, pool='mean').prepare(make_features())
  assert [t.shape for t in prepared.taps] == [(B, 1, D)]
  assert prepared.norm is None


@pytest.mark.parametrize('field, value', [
    ('residual', 'walking'), ('first', 'space'), ('activation', 'gelo'),
    ('rank', 0)])
def test_bad_fields_are_named(field, value):
  features = make_features()
  with pytest.raises(ValueError, match=field):
    LowRank(**{field: value}).init(jax.random.key(0), features)


def test_bad_pool_is_named():
  with pytest.raises(ValueError, match='pool'):
    SideNetwork(LowRank(), 3, pool='max').init(
        jax.random.key(0), make_features())
