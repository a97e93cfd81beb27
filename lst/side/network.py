"""`SideNetwork`: a side module, pooling and a classifier on frozen features."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features
from lst.side import refined

POOLS = ('cls', 'mean', 'patches')
NORMS = ('frozen', 'none')


class SideNetwork(nn.Module):
  """Refines frozen features and classifies them.

  No gradient leaves through its inputs: whatever made the features is not
  differentiated, so they may come from a cache, a file or another framework.

  Attributes:
    side: module from `Features` to `refined.Refined` tokens, such as
      `LowRank(rank=8)` or `Linear()`.
    classes: number of classes C.
    pool: 'cls' (the first token), 'mean' (all tokens) or 'patches' (all but
      the first `prefix`).
    prefix: number of CLS and register tokens ahead of the patches.
    norm: 'frozen' puts the features' own final norm on the refined tokens,
      ahead of pooling; 'none' leaves them.

  >>> import jax, jax.numpy as jnp
  >>> from lst import Features, LowRank, SideNetwork
  >>> features = Features(taps=tuple(jnp.ones((2, 5, 16)) for _ in range(4)))
  >>> network = SideNetwork(LowRank(rank=2), classes=3)
  >>> params = network.init(jax.random.key(0), features)
  >>> network.apply(params, features).shape
  (2, 3)
  """

  side: nn.Module
  classes: int
  pool: str = 'cls'
  prefix: int = 1
  norm: str = 'frozen'

  @nn.compact
  def __call__(self, features: Features) -> Float[Array, 'b c']:
    """Features of B images to logits (B, C) in f32."""
    if self.pool not in POOLS:
      raise ValueError(f'pool={self.pool!r} is none of {", ".join(POOLS)}')
    if self.norm not in NORMS:
      raise ValueError(f'norm={self.norm!r} is none of {", ".join(NORMS)}')
    y = self.side(features)
    norm = features.norm if self.norm == 'frozen' else None
    x = refined.pooled(y, self.pool, self.prefix, norm)
    return nn.Dense(
        self.classes, kernel_init=nn.initializers.zeros, name='head',
        dtype=jnp.float32)(x)
