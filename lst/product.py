"""Products of two arrays in the precision that matrix units are fast in.

All take operands in the dtype of the activations (weights in f32 are cast to
it), add in f32 and return f32. Matrix units take bf16 operands and add in f32;
CPUs do so only when the result is asked for in f32, in the backward products
as well as in the forward one, so each has its own backward pass. In these, each
operand stands as it is kept: XLA would otherwise transpose whole activations,
or sum a product over the batch in an order that costs several times as much.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_keep = jax.lax.optimization_barrier


# Without a trace of `jit` in the program; but `einsum` looks through a product
# once for its shapes, and not wherever it stands.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _einsum(spec: str, x: Array, y: Array) -> Array:
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(spec: str, x: Array, y: Array) -> Array:
  """`einsum` of two operands of one dtype, summed and returned in f32.

  Every index of an operand has to be in the other operand or the result.
  """
  return _einsum(spec, x, y)


def _product_fwd(spec, x, y):
  # Kept as they stand: XLA would rather compute them anew inside the backward
  # products, in transposed order, at several times the cost of the products.
  x, y = _keep((x, y))
  return product(spec, x, y), (x, y)


def _product_bwd(spec, operands, g):
  x, y = operands
  inputs, out = spec.split('->')
  left, right = inputs.split(',')
  # A cotangent left in f32 would turn both backward products into f32 ones.
  g = _keep(g.astype(x.dtype))
  dx = product(f'{out},{right}->{left}', g, y)
  dy = product(f'{out},{left}->{right}', g, x)
  return dx.astype(x.dtype), dy.astype(y.dtype)


product.defvjp(_product_fwd, _product_bwd)


@jax.custom_vjp
def by_row(
    x: Float[Array, 'b m k'], w: Float[Array, 'r k']
) -> Float[Array, 'b m r']:
  """`x @ w^T`: every row of every example against the rows of a weight."""
  return _einsum('bmk,rk->bmr', x, w.astype(x.dtype))


def _by_row_fwd(x, w):
  x, w = _keep((x, w))
  return by_row(x, w), (x, w)


def _by_row_bwd(operands, g):
  x, w = operands
  g = _keep(g.astype(x.dtype))
  dx = _einsum('bmr,rk->bmk', g, w.astype(x.dtype))
  dw = _einsum('bmr,bmk->rk', g, x)
  return dx.astype(x.dtype), dw.astype(w.dtype)


by_row.defvjp(_by_row_fwd, _by_row_bwd)


@jax.custom_vjp
def times(
    x: Float[Array, 'b m r'], w: Float[Array, 'r k']
) -> Float[Array, 'b m k']:
  """`x @ w`: as `by_row` of `w^T`, which XLA on CPUs cannot run in bf16."""
  return _einsum('bmr,rk->bmk', x, w.astype(x.dtype))


def _times_fwd(x, w):
  x, w = _keep((x, w))
  return times(x, w), (x, w)


def _times_bwd(operands, g):
  x, w = operands
  g = _keep(g.astype(x.dtype))
  dx = _einsum('bmk,rk->bmr', g, w.astype(x.dtype))
  dw = _einsum('bmr,bmk->rk', x, g)
  return dx.astype(x.dtype), dw.astype(w.dtype)


times.defvjp(_times_fwd, _times_bwd)


@jax.custom_vjp
def by_column(
    w: Float[Array, 'r m'], x: Float[Array, 'b m k']
) -> Float[Array, 'b r k']:
  """`w @ x`: a weight against every column of every example."""
  return _einsum('brm,bmk->brk', _each(w, x), x)


def _each(w, x):
  """The weight once for every example: a flat product would turn `x`."""
  return jnp.broadcast_to(w.astype(x.dtype), (x.shape[0], *w.shape))


def _by_column_fwd(w, x):
  w, x = _keep((w, x))
  return by_column(w, x), (w, x)


def _by_column_bwd(operands, g):
  w, x = operands
  g = _keep(g.astype(x.dtype))
  dx = _einsum('brm,brk->bmk', _each(w, x), g)
  # Example by example, then summed: a third of the time of one product that
  # contracts the examples and the columns together.
  dw = _einsum('bmk,brk->bmr', x, g).sum(0).T
  return dw.astype(w.dtype), dx.astype(x.dtype)


by_column.defvjp(_by_column_fwd, _by_column_bwd)


@jax.custom_vjp
def by_pair(
    x: Float[Array, 'b m k'], y: Float[Array, 'b r k']
) -> Float[Array, 'b m r']:
  """`x @ y^T` of every example."""
  return _einsum('bmk,brk->bmr', x, y.astype(x.dtype))


def _by_pair_fwd(x, y):
  x, y = _keep((x, y))
  return by_pair(x, y), (x, y)


def _by_pair_bwd(operands, g):
  x, y = operands
  g = _keep(g.astype(x.dtype))
  dx = _einsum('bmr,brk->bmk', g, y.astype(x.dtype))
  dy = _einsum('bmr,bmk->brk', g, x)
  return dx.astype(x.dtype), dy.astype(y.dtype)


by_pair.defvjp(_by_pair_fwd, _by_pair_bwd)


@jax.custom_vjp
def kept(x: Array) -> Array:
  """`x`, written once: XLA would compute it anew for each of its readers."""
  return _keep(x)


kept.defvjp(lambda x: (_keep(x), None), lambda _, g: (_keep(g),))


def turned(w: Float[Array, 'r m']) -> Float[Array, 'm r']:
  """`w^T`, written: of one example, XLA on CPUs would fold the turn into a
  product in bf16 that it then cannot run.
  """
  return kept(w.T)


@jax.custom_vjp
def written(
    x: Float[Array, 'b n d'], scalar: Float[Array, '']
) -> Float[Array, 'b n d']:
  """As `kept`, where a CPU is to keep to it too, for the sake of bits.

  XLA's compiler for CPUs leaves barriers out ahead of fusing, so what reads a
  part of `x` may have its own copy of the sums that make it, added in another
  order. It does not look through a loop whose number of turns it cannot know.

  Args:
    x: what is written.
    scalar: any number that is known as the program runs, of every device:
      there are no turns, or two that undo each other if it is NaN.
  """
  return jax.lax.platform_dependent(
      x, scalar, cpu=_turned, default=lambda x, _: _keep(x))


def _turned(x, scalar):
  turns = jnp.where(scalar == scalar, 0, 2)
  return jax.lax.while_loop(
      lambda c: c[0] < turns, lambda c: (c[0] + 1, -c[1]), (0, x))[1]


written.defvjp(
    lambda x, scalar: (written(x, scalar), jnp.zeros_like(scalar)),
    lambda zero, g: (_keep(g), zero))
