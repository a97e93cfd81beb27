"""Every option in bf16 under a jitted gradient, as a CPU has to run it.

XLA for CPUs takes some bf16 products that it then cannot run ('Unsupported
DotThunk'); which ones depends on the shapes and on what is fused around them.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import Features, Linear, LowRank, Norm, SideNetwork
from lst.side import ClipLowRank, low_rank, network

TINY = (3, 5, 8, 2)
# (B, N, D, rank), taps: some that such products have come of.
KNOWN = [((16, 5, 24, 4), 2), ((64, 64, 192, 8), 1), ((64, 64, 192, 8), 3),
         ((8, 197, 768, 16), 2)]
# Fields of `LowRank` apart from the default, each by itself.
FIELDS = {
    'residual': low_rank.RESIDUALS, 'first': low_rank.MIXERS,
    'activation': tuple(low_rank.ACTIVATIONS), 'token_mixing': (True, False),
    'use_bias': (False, True), 'tap_norm': (False, True), 'skip': (0, 1),
    'alpha': (1.0, 0.5)}
OPTIONS = [{}] + [
    {field: value} for field, values in FIELDS.items()
    for value in values if value != getattr(LowRank, field)]


@functools.cache
def features(shape, taps) -> Features:
  batch, tokens, width, _ = shape
  rng = np.random.default_rng(0)
  return Features(
      tuple(jnp.asarray(rng.normal(size=(batch, tokens, width)), jnp.bfloat16)
            for _ in range(taps)),
      Norm(jnp.ones(width), jnp.zeros(width), 1e-6))


def check(side, shape, taps, **fields):
  """The gradient exists, is finite, and the head's is not zero."""
  of = features(shape, taps)
  whole = SideNetwork(side, 4, prefix=1, **fields)
  labels = jnp.arange(shape[0]) % 4

  def loss(params):
    logits = whole.apply({'params': params}, of)
    return -jax.nn.log_softmax(logits)[jnp.arange(shape[0]), labels].mean()

  shapes = jax.eval_shape(
      lambda key: whole.init(key, of)['params'], jax.random.key(0))
  rng = np.random.default_rng(1)
  params = jax.tree.map(
      lambda x: jnp.asarray(0.1 * rng.normal(size=x.shape), x.dtype), shapes)
  grads = jax.device_get(jax.jit(jax.grad(loss))(params))
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  assert np.abs(grads['head']['kernel']).max() > 0


def test_every_field_is_here():
  fields = {
      field.name for field in dataclasses.fields(LowRank) if field.init}
  assert set(FIELDS) == fields - {'rank', 'parent', 'name'}
  assert len(OPTIONS) > len(FIELDS)


@pytest.mark.parametrize('option', OPTIONS, ids=str)
def test_each_option(option):
  check(LowRank(rank=TINY[-1], **option), TINY, 2)


@pytest.mark.parametrize('side', [Linear(), LowRank(rank=2)],
                         ids=lambda side: type(side).__name__)
@pytest.mark.parametrize('pool, norm', [
    pair for pair in itertools.product(network.POOLS, network.NORMS)
    # This one is among the options.
    if pair != ('cls', 'frozen')])
def test_each_pool_and_norm(side, pool, norm):
  check(side, TINY, 2, pool=pool, norm=norm)


@pytest.mark.parametrize('shape, taps', KNOWN)
@pytest.mark.parametrize('use_bias', [False, True])
def test_shapes_that_have_failed(shape, taps, use_bias):
  side = LowRank(rank=shape[-1], use_bias=use_bias)
  check(side, shape, taps, pool='mean' if use_bias else 'cls')


ONE = [
    LowRank(rank=4), LowRank(rank=4, residual='figure', first='token'),
    ClipLowRank(frames=4, rank=4)]


@pytest.mark.as_users
@pytest.mark.parametrize('side', ONE, ids=lambda side: type(side).__name__)
def test_one_example(side):
  """XLA drops the axis of one example, and folds what that leaves."""
  check(side, (1, 16, 24, 4), 4, pool='mean')
