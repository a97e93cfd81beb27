"""Muon for the matrices of the blocks, AdamW for everything else."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def orthogonalise(g: Float[Array, 'n m'], steps: int = 5) -> Array:
  """The nearest (semi-)orthogonal matrix, roughly: Newton-Schulz in bf16.

  Coefficients of Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
  """
  def dot(x, y):
    return jnp.dot(x, y, preferred_element_type=jnp.float32)

  half = jnp.bfloat16
  x = g.T if g.shape[0] > g.shape[1] else g
  x = (x / (jnp.linalg.norm(x) + 1e-8)).astype(half)
  for _ in range(steps):
    a = dot(x, x.T).astype(half)
    b = (-4.7750 * a + 2.0315 * dot(a, a)).astype(half)
    x = (3.4445 * x + dot(b, x)).astype(half)
  x = x.T if g.shape[0] > g.shape[1] else x
  return x.astype(jnp.float32)


def direction(path: tuple, g: Array) -> Array:
  """Muon's update of one matrix; q, k and v are three matrices side by side."""
  parts = 3 if 'qkv' in jax.tree_util.keystr(path) else 1
  gs = [orthogonalise(part) for part in jnp.split(g, parts, axis=1)]
  fan_in, fan_out = gs[0].shape
  return jnp.concatenate(gs, axis=1) * max(1.0, fan_out / fan_in) ** 0.5


def scale_by_muon(decay: float = 0.95) -> optax.GradientTransformation:
  """Nesterov momentum, made orthogonal; every leaf has to be a matrix."""
  momentum = optax.trace(decay, nesterov=True)

  def update(grads, state, params=None):
    updates, state = momentum.update(grads, state, params)
    return jax.tree_util.tree_map_with_path(direction, updates), state

  return optax.GradientTransformation(momentum.init, update)


def kinds(params: dict) -> dict:
  """'muon' for the kernels inside blocks, 'adam' for the other leaves."""
  def kind(path, leaf):
    name = jax.tree_util.keystr(path)
    return 'muon' if 'block_' in name and leaf.ndim == 2 else 'adam'

  return jax.tree_util.tree_map_with_path(kind, params)


def build(
    muon: float, adam: float, decay: float, rate: Callable
) -> optax.GradientTransformation:
  """Both optimizers; `rate(step)` in 0..1 multiplies both learning rates.

  `decay` is the share of each matrix taken off per unit of learning rate.
  """
  def chain(scale, peak):
    return optax.chain(
        scale,
        optax.add_decayed_weights(
            decay, lambda p: jax.tree.map(lambda a: a.ndim == 2, p)),
        optax.scale_by_learning_rate(lambda step: peak * rate(step)))

  return optax.partition(
      {'muon': chain(scale_by_muon(), muon),
       'adam': chain(optax.scale_by_adam(b2=0.98), adam)}, kinds)
