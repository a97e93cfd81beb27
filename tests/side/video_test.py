"""LoSA on clips against its full-width oracle: values, gradients, time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import Features, Norm, SideNetwork
from lst import config as config_lib
from lst.side import ClipLadder, ClipLinear, ClipLowRank, Ladder, build
from lst.side.low_rank import ACTIVATIONS
from tests import tiny

B, T, S, D, L = 2, 4, 5, 6, 7
AXIS = {'channel': 3, 'space': 2, 'time': 1}


def make_features(dtype=jnp.float32):
  taps = tuple(
      tiny.normal(B, T * S, D, seed=i).astype(dtype) for i in range(L))
  norm = Norm(
      1 + 0.3 * tiny.normal(D, seed=L), 0.3 * tiny.normal(D, seed=L + 1), 1e-6)
  return Features(taps, norm)


def full_width(params, taps, module, kinds):
  """y_L (B, T, S, D), each mixer multiplying along its own axis."""
  taps = [tap.reshape(B, T, S, D) for tap in taps]
  if module.tap_norm:
    taps = [(t - t.mean(-1, keepdims=True)) /
            jnp.sqrt(t.var(-1, keepdims=True) + 1e-6) for t in taps]
  y, sums = taps[-1], 0.0
  if module.residual == 'sum':
    y = jnp.zeros_like(y)
  for i, (b, kind) in enumerate(zip(taps, kinds, strict=True)):
    sums = sums + b
    z = b + y
    if module.residual == 'sum':
      z = (b if i == len(taps) - 1 else sums) + y
    if i < module.skip:
      y = z if module.residual == 'figure' else y
      continue
    down, up, alpha = (
        params[f'{kind}_{i}_{name}'] for name in ('down', 'up', 'alpha'))
    turned = jnp.moveaxis(z, AXIS[kind], -1)
    h = ACTIVATIONS[module.activation](turned @ down.T) @ up
    h = jnp.moveaxis(h, -1, AXIS[kind])
    y = (z if module.residual == 'figure' else y) + alpha * h
  return y + taps[-1] if module.residual == 'sum' else y


def pooled(y, pool, prefix, norm):
  """(B, D)."""
  if norm is not None:
    y = (y - y.mean(-1, keepdims=True)) * jax.lax.rsqrt(
        y.var(-1, keepdims=True) + norm.eps) * norm.scale + norm.bias
  first, last = {
      'cls': (0, 1), 'mean': (0, S), 'patches': (prefix, S)}[pool]
  return y[:, :, first:last].mean((1, 2))


C, SP, TI = 'channel', 'space', 'time'
CASES = [
    ({}, (C, SP, TI, C, SP, TI, C), 'mean'),
    (dict(first='token', residual='figure', skip=2),
     (SP, TI, C, SP, TI, C, SP), 'cls'),
    (dict(residual='sum', skip=1), (C, SP, TI, C, SP, TI, C), 'mean'),
    (dict(time_mixing=False, tap_norm=True), (C, SP, C, SP, C, SP, C),
     'patches'),
    (dict(token_mixing=False, skip=1, activation='relu'),
     (C, TI, C, TI, C, TI, C), 'mean'),
]


@pytest.mark.parametrize('fields, kinds, pool', CASES, ids=lambda x: str(x))
def test_equals_the_full_width_form(fields, kinds, pool):
  features = make_features()
  module = ClipLowRank(T, rank=3, **fields)
  prepared = module.prepare(features)
  params = tiny.scrambled(module, prepared)
  norm = None if pool == 'patches' else features.norm
  target = tiny.normal(B, D, seed=5)

  def low_rank(params):
    y = module.apply({'params': params}, prepared).pooled(pool, 2, norm)
    return jnp.sum(y * target), y

  def oracle(params):
    y = pooled(full_width(params, features.taps, module, kinds), pool, 2, norm)
    return jnp.sum(y * target), y

  (ours, y), (theirs, expected) = (
      jax.jit(jax.grad(f, has_aux=True))(params) for f in (low_rank, oracle))
  np.testing.assert_allclose(y, expected, rtol=3e-5, atol=3e-5)
  scale = max(jnp.abs(x).max() for x in jax.tree.leaves(theirs))
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for a, b in zip(
      jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=3e-5 * float(scale))


def logits(features, time_mixing):
  network = SideNetwork(
      ClipLowRank(T, rank=3, time_mixing=time_mixing), 4, pool='mean')
  params = tiny.scrambled(network, features)
  return jax.jit(network.apply)({'params': params}, features)


def backwards(features):
  return features._replace(taps=tuple(
      x.reshape(B, T, S, D)[:, ::-1].reshape(B, T * S, D)
      for x in features.taps))


def test_only_time_mixers_see_the_order_of_the_frames():
  features = make_features()
  np.testing.assert_allclose(
      logits(features, False), logits(backwards(features), False), atol=1e-4)
  assert np.abs(
      logits(features, True) - logits(backwards(features), True)).max() > 0.02


def test_bf16_features_stay_close_to_f32():
  a, b = (logits(make_features(dtype), True)
          for dtype in (jnp.float32, jnp.bfloat16))
  assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_starts_as_the_probe():
  features = make_features()
  losa = ClipLowRank(T, rank=2)
  features = features._replace(taps=features.taps[:3])
  prepared = losa.prepare(features)
  y = jax.jit(lambda: losa.apply(
      losa.init(jax.random.key(0), prepared), prepared).pooled(
          'patches', 2, features.norm))()
  probe = SideNetwork(ClipLinear(T), 3, pool='patches', prefix=2)
  row = probe.prepare(features).taps[0]
  assert row.shape == (B, 1, D)
  np.testing.assert_allclose(y, row[:, 0], atol=1e-5)


def test_a_ladder_without_time_is_one_on_every_frame():
  features = make_features()
  clip, plain = ClipLadder(T, 2, time_mixing=False), Ladder(2)
  features = features._replace(taps=features.taps[:2])
  params = tiny.scrambled(clip, features)
  inner = {name: value.get('frame', value) if isinstance(value, dict) else value
           for name, value in params['ladder'].items()}
  frames = features._replace(
      taps=tuple(tap.reshape(B * T, S, D) for tap in features.taps))
  for pool in ('cls', 'patches'):
    ours, theirs = (
        jax.jit(lambda p, x, m=m, pool=pool: m.apply({'params': p}, x).pooled(
            pool, 2, x.norm))(p, x)
        for m, p, x in ((clip, params, features), (plain, inner, frames)))
    np.testing.assert_allclose(
        ours, theirs.reshape(B, T, D).mean(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name, frames, match', [
    ('last', T, 'reads no videos.*side4video'),
    ('side4video', 0, 'reads no images.*losa'), ('lsot', T, 'choose one of')])
def test_what_reads_what_is_told(name, frames, match):
  config = config_lib.default().side
  config.name = name
  with pytest.raises(ValueError, match=match):
    build(config, 3, True, 1, frames)


@pytest.mark.parametrize('fields, frames, match', [
    (dict(use_bias=True), T, 'use_bias'), (dict(skip=L), T, 'skip'),
    (dict(residual='walking'), T, 'residual'), ({}, 3, 'frames')])
def test_what_cannot_be_is_named(fields, frames, match):
  config = config_lib.default().side
  config.update(fields)
  with pytest.raises(ValueError, match=match):
    build(config, 3, True, 1, frames).init(jax.random.key(0), make_features())
