"""Side4Video against the authors' formulas, written out plainly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import Features
from lst.side import Side4Video
from tests import tiny

B, T, P, D, L, REDUCTION = 2, 3, 4, 8, 3, 2
W = D // REDUCTION


def normed(x):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def affine(x, p):
  return normed(x) * p['scale'] + p['bias']


def dense(x, p, name):
  return x @ p[f'{name}_kernel'] + p[f'{name}_bias']


def block(p, x, token, where):
  """One side block on x (T, P, W) of one clip; token (T, C, W)."""
  h = dense(affine(x, p['norm1']), p, 'conv_down')
  k = p['conv_kernel'][:, 0, 0]
  y = np.zeros_like(h)
  for t in range(T):
    for step in (-1, 0, 1):
      if 0 <= t + step < T:
        y[t] += k[1 + step] * h[t + step]
  x = x + dense(y + p['conv_bias'], p, 'conv_up')
  for t in range(T):
    shifted = np.zeros_like(token[t])
    if t + 1 < T:
      shifted[:, :W // 2] = token[t + 1][:, :W // 2]
    if t:
      shifted[:, W // 2:] = token[t - 1][:, W // 2:]
    h = affine(np.concatenate([shifted, x[t] + where]), p['norm2'])
    q, key, v = np.split(dense(h, p, 'qkv'), 3, -1)
    scores = q[len(shifted):] @ key.T / np.sqrt(W)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    x[t] = x[t] + dense(weights @ v, p, 'out')
  h = dense(affine(x, p['norm3']), p, 'mlp_up')
  return x + dense(np.asarray(jax.nn.gelu(h)), p, 'mlp_down')


@pytest.mark.parametrize('cls, prefix', [(True, 2), (False, 1)])
def test_equals_the_formulas(cls, prefix):
  rng = np.random.default_rng(0)
  taps = [rng.normal(size=(B, T * (prefix + P), D)).astype(np.float32)
          for _ in range(L)]
  module = Side4Video(T, cls, prefix, REDUCTION, skip=1)
  prepared = module.prepare(Features(tuple(map(jnp.asarray, taps))))
  assert [x.shape for x in prepared.taps] == [(B, T * (cls + P), D)] * (L - 1)
  params = tiny.random_like(
      jax.eval_shape(module.init, jax.random.key(0), prepared)['params'])
  ours = jax.jit(lambda p: module.apply({'params': p}, prepared).base)(params)
  ours = ours[:, 0]
  params = jax.device_get(params)
  for b in range(B):
    x = None
    for i in range(1, L):
      y = normed(taps[i][b].reshape(T, prefix + P, D))
      y = y @ params[f'down_{i}'].T + params[f'down_{i}_bias']
      token, y = y[:, :int(cls)], y[:, prefix:]
      x = y if x is None else (x + y) / 2
      x = block(params[f'block_{i}'], x, token, params['where'])
    np.testing.assert_allclose(
        ours[b], affine(x, params['norm']).mean((0, 1)), rtol=2e-4, atol=2e-4)
