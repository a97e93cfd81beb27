"""`SideNetwork`: a side module, pooling and a classifier on frozen features."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.features import Features, Norm
from lst.side import refined
from lst.side.reading import Stream

POOLS = ('cls', 'mean', 'patches')
NORMS = ('frozen', 'none')


class SideNetwork(nn.Module):
  """Refines frozen features and classifies them.

  It needs nothing but the features: they may come from a cache, a file or
  another framework. Like any module it has a gradient with respect to them, and
  stops none: whoever makes features does, as `lst.backbones.backbone.extractor`
  with its own. In a loss that also runs what made them, give it
  `jax.lax.stop_gradient(features)`.

  Attributes:
    side: such as `LowRank(rank=8)` or `Linear()`: a module with
      `prepare(features) -> Features`, which no parameter touches; `stream()`,
      the same a tap at a time (`reading.Stream`), or None where one is read;
      `__call__(prepared)` -> tokens that can be `pooled`, as
      `refined.Refined`; `refines`, False if the tokens stay as they were; and
      `pools`, True if it gives one token, pooled from normed ones, in place of
      `pool` and `norm` here.
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

  def __call__(self, features: Features) -> Float[Array, 'b c']:
    """Features of B images to logits (B, C) in f32."""
    return self.readout(self.prepare(features))

  def prepare(self, features: Features) -> Features:
    """What `readout` reads: all that no parameter touches, done once.

    Features that are used many times, such as those of a cache, are best kept
    like this: `apply(params, prepared, method='readout')`. A linear probe's
    are then one pooled row (B, 1, D) an image.
    """
    self._check()
    features = self.side.prepare(
        features._replace(norm=self._norm(features)))
    if self.side.refines:
      return features
    x = self.side(features).pooled(
        self.pool, self.prefix, self._norm(features))
    return Features((x[:, None],))

  def stream(self) -> Stream | None:
    """`prepare` a tap at a time, or None where but the last one is read."""
    return self.side.stream()

  @nn.compact
  def readout(self, prepared: Features) -> Float[Array, 'b c']:
    """What `prepare` returned to logits (B, C) in f32."""
    self._check()
    if not self.side.refines:
      x = prepared.taps[-1][:, 0].astype(jnp.float32)
    elif self.side.pools:
      x = refined.row(self.side(prepared), 0)
    else:
      y = self.side(prepared)
      with jax.named_scope('pool'):
        x = y.pooled(self.pool, self.prefix, self._norm(prepared))
    return nn.Dense(
        self.classes, kernel_init=nn.initializers.zeros, name='head',
        dtype=jnp.float32)(x)

  def _norm(self, features: Features) -> Norm | None:
    return features.norm if self.norm == 'frozen' else None

  def _check(self):
    if self.pool not in POOLS:
      raise ValueError(f'pool={self.pool!r} is none of {", ".join(POOLS)}')
    if self.norm not in NORMS:
      raise ValueError(f'norm={self.norm!r} is none of {", ".join(NORMS)}')
