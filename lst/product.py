"""Products of two arrays in the precision that matrix units are fast in."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(spec: str, x: Array, y: Array) -> Array:
  """`einsum` of two operands of one dtype, summed and returned in f32.

  Matrix units take bf16 operands and add in f32; CPUs do so only when the
  result is asked for in f32, in the backward pass as well as in the forward
  one. Every index of an operand has to be in the other operand or the result.
  """
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


def _product_fwd(spec, x, y):
  # Kept as they stand: XLA would rather compute them anew inside the backward
  # products, in transposed order, at several times the cost of the products.
  x, y = jax.lax.optimization_barrier((x, y))
  return product(spec, x, y), (x, y)


def _product_bwd(spec, operands, g):
  x, y = operands
  inputs, out = spec.split('->')
  left, right = inputs.split(',')
  # A cotangent left in f32 would turn both backward products into f32 ones.
  g = jax.lax.optimization_barrier(g.astype(x.dtype))
  dx = product(f'{out},{right}->{left}', g, y)
  dy = product(f'{out},{left}->{right}', g, x)
  return dx.astype(x.dtype), dy.astype(y.dtype)


product.defvjp(_product_fwd, _product_bwd)
