"""What taps are kept as between the frozen pass and the side step.

    exact  as they are, in the dtype of the backbone
    int8   in 8 bits, one scale for each token: half the bytes of bfloat16
    none   not at all: a side network reads one product of each tap with a
           weight (`lst.side.reading`), r wide, and takes it as the pass comes
           to that tap. The gradient of the weight needs the tap once more, and
           the pass is run a second time for it: a step takes two forward passes
           and no tap but the last is held, at any depth.

No gradient enters the backbone under any of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from lst import turns
from lst.backbones.frozen import Backbone
from lst.backbones.visits import visitor
from lst.features import Features, Norm
from lst.side.reading import Reads, Stream, asked, of_tap

# (source, see, given) -> (`turns.Found`, what `Stream.last` gives): calls
# `see(tap, given)` on every tap of a batch as it is prepared.
Visit = Callable[..., Any]


class Rounded(NamedTuple):
  """A tap in 8 bits: `values * scale`, within half a scale of what it was.

  Attributes:
    values: (B, N, D).
    scale: (B, N, 1) in f32: the largest magnitude of each token / 127. A few
      tokens of a ViT are far larger than all others; so no other is coarse.
  """

  values: Int8[Array, '*b n d']
  scale: Float[Array, '*b n 1']


def rounded(tap: Float[Array, 'b n d']) -> Rounded:
  """To the nearest step of the scale.

  >>> rounded(jnp.float32([[[1.27, -0.5, 0.0]]])).values.tolist()
  [[[127, -50, 0]]]
  """
  x = tap.astype(jnp.float32)
  top = jnp.abs(x).max(-1, keepdims=True)
  scale = jnp.where(top > 0, top / 127, 1.0)
  return Rounded(jnp.round(x / scale).astype(jnp.int8), scale)


def restored(kept: Rounded, dtype: Any) -> Float[Array, '*b n d']:
  """The tap that was kept, in `dtype`."""
  return (kept.values.astype(jnp.float32) * kept.scale).astype(dtype)


class Tapped(NamedTuple):
  """Those of a backbone, and how a side network takes them.

  Attributes:
    visit: of `backbones.visits.visitor`.
    stream: of the side network.
    depth: L.
    shape: (N, D) of each.
    dtype: of each.
  """

  visit: Callable
  stream: Stream
  depth: int
  shape: tuple[int, int]
  dtype: Any

  def like(self, inputs: Any) -> jax.ShapeDtypeStruct:
    """One tap (B, N, D) of inputs (B, ...)."""
    return jax.ShapeDtypeStruct((len(inputs), *self.shape), self.dtype)


def not_kept(of: Tapped, frozen: Any, inputs: Any) -> Features:
  """Features whose taps (B, N, D) are taken in two passes, and never kept."""
  stream, like = of.stream, of.like(inputs)

  def visit(source, see, given):
    def taken(carry, tap, given):
      carry, tap = stream.take(carry, tap)
      return carry, see(tap, given)

    carry, found, last = of.visit(*source, taken, stream.begin(like), given)
    return found, stream.last(carry, last)

  return _features(visit, (frozen, inputs), of, like)


def in_int8(of: Tapped, frozen: Any, inputs: Any) -> Features:
  """Features whose taps (B, N, D) are kept as `Rounded`.

  What is kept is what the side network reads of a tap, as it prepares it;
  beside that the last tap is there as it is.
  """
  stream, like = of.stream, of.like(inputs)

  def take(carry, tap, given):
    del given
    carry, tap = stream.take(carry, tap)
    return carry, rounded(tap)

  carry, kept, last = of.visit(
      frozen, inputs, take, stream.begin(like), (None,) * of.depth)
  runs = [run for run, _ in kept]

  def visit(source, see, given):
    last, found = source

    def step(carry, block, given):
      tap = restored(_block(found, block), like.dtype)
      return carry, see(tap, given)

    walk = turns.scanned if len(runs) == 1 else _one_by_one
    return walk(step, None, given)[1], last

  source = stream.last(carry, last), [found for _, found in kept]
  return _features(visit, source, of, like)


KEPT = {'int8': in_int8, 'none': not_kept}
FORMS = ('exact', *KEPT)


def check(keep: str, nodes: Sequence[int] | None) -> None:
  """Raises ValueError unless `keep` is known, and can be for these states."""
  if keep not in FORMS:
    raise ValueError(
        f'config.side.keep={keep!r} is none of {", ".join(FORMS)}')
  if keep != 'exact' and nodes is not None:
    raise ValueError(
        f'config.side.keep={keep!r} takes the state after each block as the '
        "pass comes to it: set config.side.taps=(), or keep='exact'")


def features(
    keep: str, backbone: Backbone, stream: Stream
) -> Callable[[Any, Any], Features]:
  """(frozen, inputs) -> features kept in a form of `KEPT`, with their norm.

  They live inside of the program that made them.
  """
  of = Tapped(
      visitor(backbone), stream, backbone.depth,
      (backbone.tokens * (backbone.times or 1), backbone.width),
      jnp.dtype(backbone.dtype))

  def made(frozen, inputs):
    norm = frozen['norm']
    return KEPT[keep](of, frozen, inputs)._replace(
        norm=Norm(norm['scale'], norm['bias'], backbone.eps))

  return made


def answered(call: Callable[[Features], Array], features: Features) -> Array:
  """What a side network makes of features that `features` gave."""
  found = features.reader(asked(call, features))
  return call(features._replace(reader=lambda reads: found))


def _block(found: list[list[Rounded]], block: Any) -> Rounded:
  """What is kept of one block: in a stack of all, or by itself."""
  if len(found) == 1:
    return jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, block, keepdims=False),
        found[0][0])
  return jax.tree.map(lambda x: x[0], found[block][0])


def _one_by_one(step: turns.Step, carry: Any, given: Sequence[Any]):
  """As `turns.scanned`, each block by itself."""
  found = []
  for block, one in enumerate(given):
    carry, out = step(carry, block, one)
    found.append(turns.alone(block, out))
  return carry, found


def _features(visit: Visit, source: Any, of: Tapped, like) -> Features:
  """Features that are read by going through the taps of a source."""
  stream = of.stream

  def reader(reads: Reads):
    reads = (None,) * (of.depth - len(reads)) + reads
    found, ends = _products(visit, reads, source)
    # Nothing asks for a gradient of the taps.
    last, added = jax.lax.stop_gradient(ends)
    if added is not None:
      found = tuple(
          h if h is None else h + of_tap(added, read)
          for h, read in zip(found, reads, strict=True))
    if reads[-1] is not None:
      # It is there as it is, whatever all are kept as.
      found = (*found[:-1], of_tap(last, reads[-1]))
    return found[stream.skip:], last

  shown = jax.eval_shape(
      lambda tap: stream.last(stream.begin(like), tap)[0], like)
  return Features(
      (None,) * (of.depth - stream.skip - 1) + (shown,), reader=reader)


def _products(visit: Visit, reads: Reads, source: Any):
  """(the product of each tap that is read, what `Stream.last` gives)."""
  @jax.custom_vjp
  def products(reads, source):
    found, ends = visit(
        source, lambda tap, read: read and of_tap(tap, read), reads)
    return tuple(turns.by_block(found)), ends

  def forward(reads, source):
    return products(reads, source), (reads, source)

  def backward(saved, cotangents):
    reads, (first, second) = saved
    # What is gone through again waits for the cotangents: else the compiler
    # would find the same work in the step twice, and keep what the first time
    # gave.
    second, grads = jax.lax.optimization_barrier((second, cotangents[0]))

    def see(tap, given):
      read, g = given
      return read and jax.vjp(lambda r: of_tap(tap, r), read)[1](g)[0]

    found, _ = visit(
        (first, second), see, tuple(zip(reads, grads, strict=True)))
    return tuple(turns.by_block(found)), None

  products.defvjp(forward, backward)
  return products(reads, source)
