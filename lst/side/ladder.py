"""LST: a ladder of thin transformer blocks beside a frozen backbone."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from lst.features import Features
from lst.product import kept
from lst.side.reading import Read, Stream, read
from lst.side.refined import Added, Refined
from lst.side.thin import EPS, ThinBlock, check_skip, heads_of, thinner

# Of a gate sigmoid(g / temperature), g = 0 at the start.
TEMPERATURE = 0.1


class Step(NamedTuple):
  """What leads to one thin block.

  Attributes:
    down, bias: of its tap.
    gate: of what the block before gave; None of the first block.
  """

  down: Float[Array, 't d']
  bias: Float[Array, ' t']
  gate: Float[Array, ''] | None = None


class Ladder(nn.Module):
  """LST (Sung et al., "Ladder side-tuning", NeurIPS 2022).

  With b_i the output of block i, a gate m_i and D / reduction channels,

      h_1 = block_1(b_1 Wd_1),
      h_i = block_i(m_i h_{i-1} + (1 - m_i) b_i Wd_i),  m_i = sigmoid(g_i / 0.1)
      y   = norm(h_L) Wu

  Blocks are pre-norm transformer blocks that are `reduction` times thinner in
  every width; gates start at 1/2. The ladder starts at the first block's
  output, where the authors' starts at the embedding; the classifier is a new
  one. They take initial weights from the backbone's own, pruned; here they are
  random.

  Attributes:
    reduction: r, how many times thinner than the backbone.
    skip: blocks at the start of the backbone without a side block.
    add_last: y = b_L + norm(h_L) Wu with Wu zero at first, so that it starts
      as the backbone (our choice; the authors do not).
    block: (heads, name=) -> a side block, such as `ThinBlock`.
  """

  refines: ClassVar[bool] = True
  pools: ClassVar[bool] = False

  reduction: int = 8
  skip: int = 0
  add_last: bool = False
  block: Callable[..., nn.Module] = ThinBlock

  def prepare(self, features: Features) -> Features:
    """The features as they are: parameters touch every tap."""
    return features

  def stream(self) -> Stream:
    """As `prepare`, a tap at a time."""
    return Stream()

  @nn.compact
  def __call__(self, features: Features) -> Refined:
    """Features with L taps (B, N, D) to refined tokens."""
    depth, width = len(features.taps), features.taps[-1].shape[-1]
    check_skip(self.skip, depth)
    thin, h = thinner(width, self.reduction), None
    steps = [self._step(i, thin, width) for i in range(self.skip, depth)]
    found, last = read(
        features, (None,) * self.skip + tuple(Read(s.down) for s in steps))
    for i, step in enumerate(steps, self.skip):
      x = found[i] + step.bias
      if h is not None:
        x = step.gate * h + (1 - step.gate) * x
      h = self.block(heads_of(width, self.reduction), name=f'block_{i}')(
          x, last.dtype)
    h = nn.LayerNorm(EPS, name='norm')(h).astype(last.dtype)
    up = self.param(
        'up', nn.initializers.zeros if self.add_last else
        nn.initializers.lecun_normal(), (thin, width))
    return Refined(
        last, Added(channel=((kept(h), up),)), float(self.add_last))

  def _step(self, i: int, thin: int, width: int) -> Step:
    down = self.param(f'down_{i}', _in_rows, (thin, width))
    bias = self.param(f'down_{i}_bias', nn.initializers.zeros, (thin,))
    if i == self.skip:
      return Step(down, bias)
    gate = self.param(f'gate_{i}', nn.initializers.zeros, ())
    return Step(down, bias, jax.nn.sigmoid(gate / TEMPERATURE))


_in_rows = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
