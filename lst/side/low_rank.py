"""LoSA: low-rank mixers of channels and tokens beside a frozen backbone."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features
from lst.product import product
from lst.side.refined import Refined, Term

ACTIVATIONS = {
    'gelu': lambda x: jax.nn.gelu(x, approximate=False),
    'gelu_tanh': jax.nn.gelu,
    'relu': jax.nn.relu,
    'silu': jax.nn.silu,
    'identity': lambda x: x,
}
RESIDUALS = ('running', 'figure')
MIXERS = ('channel', 'token')


class Mixed(NamedTuple):
  """What the mixers so far added to the tokens, one term for each kind.

  Attributes:
    channel: (B, N, R) activations on the left, (R, D) weights on the right.
    token: (N, R) weights on the left, (B, R, D) activations on the right.
  """

  channel: tuple[Float[Array, 'b n r'], Float[Array, 'r d']]
  token: tuple[Float[Array, 'n r'], Float[Array, 'b r d']]

  def down_channels(self, down: Float[Array, 'r d']) -> Float[Array, 'b n r']:
    """`y @ down^T` of the added tokens y."""
    (a, w), (u, s) = self
    return a @ (w @ down.T) + jnp.einsum('nR,bRr->bnr', u, s @ down.T)

  def down_tokens(self, down: Float[Array, 'r n']) -> Float[Array, 'b r d']:
    """`down @ y` of the added tokens y."""
    (a, w), (u, s) = self
    return (down @ a) @ w + (down @ u) @ s

  def add_channels(self, left, right) -> 'Mixed':
    """With the term of one more channel mixer."""
    a, w = self.channel
    return self._replace(channel=(
        jnp.concatenate([a, left], 2), jnp.concatenate([w, right], 0)))

  def add_tokens(self, left, right) -> 'Mixed':
    """With the term of one more token mixer."""
    u, s = self.token
    return self._replace(token=(
        jnp.concatenate([u, left], 1), jnp.concatenate([s, right], 1)))

  def terms(self) -> tuple[Term, ...]:
    """The terms as `Refined` takes them, empty ones left out."""
    (a, w), (u, s) = self
    terms = Term(a, w[None]), Term(u[None], s)
    return tuple(t for t in terms if t.left.shape[-1])


class LowRank(nn.Module):
  """LoSA (Mercea et al., CVPR 2024), computed without ever forming its tokens.

  With b_i the output of block i, y_0 = b_L and z_i = b_i + y_{i-1},

      h_i = act(z_i Wd) Wu          channel mixer, Wd (D, r), Wu (r, D)
      h_i = (act(z_i^T Wd) Wu)^T    token mixer,   Wd (N, r), Wu (r, N)
      y_i = y_{i-1} + alpha_i h_i   or, as drawn in the paper, z_i + alpha_i h_i

  and the mixers take turns. Each h_i has rank r, so only its two factors are
  kept: the products with later Wd, and pooling, work on the factors. Same
  function and gradients as the full-width form, to rounding; nothing of size
  (N, D) is written under the default residual.

  The paper's figure gives the equations; every default below is our choice.

  Attributes:
    rank: r, the same for both kinds of mixer.
    residual: 'running' (y_i = y_{i-1} + ..., starts as the frozen features) or
      'figure' (y_i = z_i + ..., starts as b_L + sum of all b_i).
    first: kind of the first mixer, 'channel' or 'token'.
    token_mixing: False makes every mixer a channel mixer.
    activation: a key of `ACTIVATIONS`.
    alpha: initial value of the learned gain of each mixer.
    use_bias: biases on both products of a mixer.
    tap_norm: each tap is brought to mean 0 and variance 1 over its channels
      first (a layer norm without parameters), which deep ViTs, whose taps grow
      by orders of magnitude, may need. It writes the taps anew.
  """

  rank: int = 8
  residual: str = 'running'
  first: str = 'channel'
  token_mixing: bool = True
  activation: str = 'gelu'
  alpha: float = 1.0
  use_bias: bool = False
  tap_norm: bool = False

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Features with L taps (B, N, D) to refined tokens, L mixers later."""
    self._check()
    taps = features.taps
    if self.tap_norm:
      taps = tuple(_standardised(tap) for tap in taps)
    base, inputs = _inputs(taps, self.residual)
    batch, tokens, width = base.shape
    mixed = Mixed(
        (jnp.zeros((batch, tokens, 0)), jnp.zeros((0, width))),
        (jnp.zeros((tokens, 0)), jnp.zeros((batch, 0, width))))
    for i, parts in enumerate(inputs):
      mixed = self._mix(i, parts, mixed, tokens, width)
    return Refined(base, mixed.terms())

  def _mix(self, i, parts, mixed: Mixed, tokens: int, width: int) -> Mixed:
    """Mixer i reads z_i = sum of `parts` + what `mixed` added so far."""
    turns = self.token_mixing and i % 2 == 1
    kind = MIXERS[(self.first == 'token' and self.token_mixing) != turns]
    size = width if kind == 'channel' else tokens
    # Wd is kept transposed, (r, D) or (r, N): its gradient is then a product
    # in which the tap stands as it is, and no tap is copied to be turned.
    init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    down = self.param(f'{kind}_{i}_down', init, (self.rank, size))
    up = self.param(
        f'{kind}_{i}_up', nn.initializers.zeros, (self.rank, size))
    alpha = self.param(
        f'{kind}_{i}_alpha', nn.initializers.constant(self.alpha), ())
    if kind == 'channel':
      h = mixed.down_channels(down)
      h = h + sum(_channels(part, down) for part in parts)
    else:
      h = mixed.down_tokens(down)
      h = h + sum(_tokens(part, down) for part in parts)
    if self.use_bias:
      bias = self.param(
          f'{kind}_{i}_down_bias', nn.initializers.zeros, (self.rank,))
      h = h + (bias if kind == 'channel' else bias[:, None])
    h = alpha * ACTIVATIONS[self.activation](h)
    if self.use_bias:
      bias = self.param(f'{kind}_{i}_up_bias', nn.initializers.zeros, (size,))
      axis = 2 if kind == 'channel' else 1
      ones = alpha * jnp.ones_like(jax.lax.slice_in_dim(h, 0, 1, axis=axis))
      h = jnp.concatenate([h, ones], axis)
      up = jnp.concatenate([up, bias[None]])
    if kind == 'channel':
      return mixed.add_channels(h, up)
    return mixed.add_tokens(up.T, h)

  def _check(self):
    for field, value, known in (
        ('residual', self.residual, RESIDUALS), ('first', self.first, MIXERS),
        ('activation', self.activation, tuple(ACTIVATIONS))):
      if value not in known:
        raise ValueError(f'{field}={value!r} is none of {", ".join(known)}')
    if self.rank < 1:
      raise ValueError(f'rank={self.rank} has to be at least 1')


def _channels(tap, down):
  """`tap @ down^T`, (B, N, r)."""
  return product('bnd,rd->bnr', tap, down.astype(tap.dtype))


def _tokens(tap, down):
  """`down @ tap`, (B, r, D)."""
  down = jnp.broadcast_to(down.astype(tap.dtype), (len(tap), *down.shape))
  return product('brn,bnd->brd', down, tap)


def _standardised(tap: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
  x = tap.astype(jnp.float32)
  x = x - x.mean(-1, keepdims=True)
  x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)
  return x.astype(tap.dtype)


def _inputs(taps, residual):
  """y_L without the mixers, and for each mixer the frozen parts of z_i."""
  last = taps[-1]
  if residual == 'running':
    return last, [(tap, last) for tap in taps]
  sums, total = [], last
  for tap in taps:
    total = total + tap
    sums.append((total,))
  return total, sums
