"""What a set of edges costs: forward passes, FLOPs, parameters, seconds."""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from lst.backbones.backbone import Backbone
from lst.placement.edges import Edge, passes


class Layers(NamedTuple):
  """FLOPs of the parts of a plain pass, an image.

  Attributes:
    embedding: up to state 0.
    attention, mlp: of one block.
    depth: blocks L.
  """

  embedding: float
  attention: float
  mlp: float
  depth: int

  def between(self, start: int, stop: int) -> float:
    """FLOPs from one state to a later one."""
    odd = (stop + 1) // 2 - (start + 1) // 2
    return odd * self.attention + (stop - start - odd) * self.mlp

  @property
  def whole(self) -> float:
    """FLOPs of a plain pass."""
    return self.embedding + self.between(0, 2 * self.depth)

  def forwards(self, edges: Iterable[Edge]) -> float:
    """Plain forward passes that a prediction with adapters on edges takes.

    >>> layers = Layers(0.0, 1.0, 1.0, depth=4)
    >>> layers.forwards([Edge(3, 4)]), layers.forwards([Edge(6, 4)])
    (1.0, 1.25)
    """
    plan = passes(edges, self.depth)
    first = self.embedding + self.between(0, plan.stop)
    return (first + self.between(plan.start, 2 * self.depth)) / self.whole


class Costs(NamedTuple):
  """What a set of edges costs.

  Attributes:
    forwards: of a prediction, in plain forward passes of the backbone.
    cached: the same where the states of the plain pass come from a cache.
    step: of a training step, in the same unit: the prediction, and once more
      what is above the lowest adapted state, for the way back. (Weights are
      frozen and take none; what attention takes more is left out.)
    flops: of a prediction, an image, adapters included.
    parameters: of all adapters.
  """

  forwards: float
  cached: float
  step: float
  flops: float
  parameters: int


def layers(backbone: Backbone) -> Layers:
  """The FLOPs of a backbone's parts, as the compiler counts them."""
  image = jax.ShapeDtypeStruct((1, *backbone.image_size, 3), np.uint8)
  shapes = jax.eval_shape(lambda x: x, backbone.frozen)

  def upto(k):
    def run(frozen, images):
      return backbone.apply(frozen, images, stop=k)
    return _flops(jax.jit(run).lower(shapes, image))

  embedding, odd, even = upto(0), upto(1), upto(2)
  return Layers(embedding, odd - embedding, even - odd, backbone.depth)


def _flops(lowered) -> float:
  counted = lowered.cost_analysis()
  counted = counted[0] if isinstance(counted, list) else counted
  if not counted or 'flops' not in counted:
    raise ValueError(
        'the compiler of this device does not count FLOPs: take the costs of '
        'this placement on a CPU')
  return counted['flops']


def costs(
    backbone: Backbone, edges: Iterable[Edge], adapter: nn.Module
) -> Costs:
  """What a prediction and a training step with adapters on edges cost."""
  edges, of = tuple(edges), layers(backbone)
  plan = passes(edges, backbone.depth)
  forwards = of.forwards(edges)
  second = of.between(plan.start, 2 * backbone.depth) / of.whole
  x = jax.ShapeDtypeStruct(
      (1, backbone.tokens, backbone.width), backbone.dtype)
  params = jax.eval_shape(adapter.init, jax.random.key(0), x)
  one = _flops(jax.jit(adapter.apply).lower(params, x))
  count = sum(int(np.prod(p.shape)) for p in jax.tree.leaves(params))
  return Costs(
      forwards, second, forwards + second,
      forwards * of.whole + len(edges) * one, len(edges) * count)


def latency(f: Callable, *args: Any, repeats: int = 5) -> float:
  """Median seconds of a call of `f`, which is compiled before."""
  taken = []
  for _ in range(repeats + 1):
    started = time.perf_counter()
    jax.block_until_ready(f(*args))
    taken.append(time.perf_counter() - started)
  return statistics.median(taken[1:])
