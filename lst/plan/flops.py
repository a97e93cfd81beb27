"""Floating-point operations of a function, counted before it is compiled.

Compilers count the body of a loop once, and count nothing ahead of time for a
GPU; this counts products, each as often as it runs, alike for every device.
What nobody reads does not run: a backward pass offers gradients of frozen
weights, which are traced, and then left out by every compiler.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval


def count(function: Callable, *args: Any) -> int:
  """FLOPs of all products in `function(*args)`; `args` may be shapes.

  >>> import jax.numpy as jnp
  >>> count(lambda x, y: x @ y, jnp.ones((2, 3)), jnp.ones((3, 5)))
  60
  """
  traced = jax.make_jaxpr(function)(*args).jaxpr
  read, _ = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
  return _of(read)


def _of(jaxpr) -> int:
  return sum(_equation(eqn) for eqn in jaxpr.eqns)


def _equation(eqn) -> int:
  if eqn.primitive.name == 'dot_general':
    (contracted, _), _ = eqn.params['dimension_numbers']
    left = eqn.invars[0].aval.shape
    return 2 * eqn.outvars[0].aval.size * math.prod(
        left[k] for k in contracted)
  inner = [_of(jaxpr) for jaxpr in _inside(eqn.params.values())]
  if eqn.primitive.name == 'cond':
    # One of the branches runs.
    return max(inner)
  return sum(inner) * eqn.params.get('length', 1)


def _inside(values) -> Iterator:
  """The programs among the parameters of an equation."""
  for value in values:
    if isinstance(value, core.ClosedJaxpr):
      yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
      yield value
    elif isinstance(value, (tuple, list)):
      yield from _inside(value)
