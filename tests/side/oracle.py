"""LoSA written plainly, at full width: the oracle of `LowRank`."""

import jax
import jax.numpy as jnp

from lst.side.low_rank import ACTIVATIONS, MIXERS


def tokens(params, taps, module):
  """y_L (B, N, D) of `module`, a `LowRank`, as the equations have it."""
  if module.tap_norm:
    taps = [
        (t - t.mean(-1, keepdims=True)) /
        jnp.sqrt(t.var(-1, keepdims=True) + 1e-6) for t in taps]
  act = ACTIVATIONS[module.activation]
  y = sums = taps[-1]
  if module.residual == 'sum':
    y = jnp.zeros_like(y)
  for i, b in enumerate(taps):
    sums = b if i == 0 else sums + b
    z = b + y
    if module.residual == 'sum':
      z = (b if i == len(taps) - 1 else sums) + y
    second = i % 2 == 1 and module.token_mixing
    starts_token = module.first == 'token' and module.token_mixing
    kind = MIXERS[second != starts_token]
    down, up, alpha = (
        params[f'{kind}_{i}_{name}'] for name in ('down', 'up', 'alpha'))
    down_bias = params.get(f'{kind}_{i}_down_bias', 0.0)
    up_bias = params.get(f'{kind}_{i}_up_bias', 0.0)
    if kind == 'channel':
      h = act(z @ down.T + down_bias) @ up + up_bias
    else:
      h = act(z.swapaxes(1, 2) @ down.T + down_bias) @ up + up_bias
      h = h.swapaxes(1, 2)
    y = (z if module.residual == 'figure' else y) + alpha * h
  return y + taps[-1] if module.residual == 'sum' else y


def pooled(y, pool, prefix, norm):
  """The pooled, normed tokens (B, D)."""
  if norm is not None:
    mean = y.mean(-1, keepdims=True)
    y = (y - mean) * jax.lax.rsqrt(y.var(-1, keepdims=True) + norm.eps)
    y = y * norm.scale + norm.bias
  if pool == 'cls':
    return y[:, 0]
  return y[:, prefix * (pool == 'patches'):].mean(1)
