"""A side network inside NNX code, through `flax.nnx.bridge`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.nnx import bridge

from lst import Features, LowRank, Norm, SideNetwork
from tests import tiny

B, N, D, L, C = 8, 7, 12, 4, 3


def make_features():
  keys = jax.random.split(jax.random.key(0), L)
  taps = tuple(jax.random.normal(k, (B, N, D)) for k in keys)
  return Features(taps, Norm(1.5 * jnp.ones(D), 0.1 * jnp.ones(D), 1e-6))


def make_bridged(network, features):
  return bridge.ToNNX(network, rngs=nnx.Rngs(0)).lazy_init(features)


def params_of(model):
  """The Linen tree of a bridged module's parameters."""
  return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def test_bridged_logits_are_those_of_linen():
  network, features = SideNetwork(LowRank(rank=2), C), make_features()
  model = make_bridged(network, features)
  # The head starts at zero and would make any two networks agree.
  params = tiny.random_like(params_of(model))
  shapes = jax.eval_shape(network.init, jax.random.key(0), features)['params']
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
  state = nnx.state(model, nnx.Param)
  nnx.replace_by_pure_dict(state, params)
  nnx.update(model, state)
  ours, theirs = model(features), network.apply({'params': params}, features)
  assert np.abs(theirs).max() > 0.1
  np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_bridged_network_learns_as_linen_does():
  network, features = SideNetwork(LowRank(rank=2), C), make_features()
  labels = jnp.arange(B) % C
  model = make_bridged(network, features)
  params = params_of(model)
  transform = optax.adam(1e-2)
  optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)

  def cross_entropy(logits):
    return optax.softmax_cross_entropy_with_integer_labels(
        logits, labels).mean()

  @nnx.jit
  def bridged_step(model, optimizer):
    loss, grads = nnx.value_and_grad(
        lambda m: cross_entropy(m(features)))(model)
    optimizer.update(model, grads)
    return loss

  @jax.jit
  def linen_step(params, opt_state):
    loss, grads = jax.value_and_grad(
        lambda p: cross_entropy(network.apply({'params': p}, features)))(params)
    updates, opt_state = transform.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss

  opt_state, ours, theirs = transform.init(params), [], []
  for _ in range(8):
    ours.append(float(bridged_step(model, optimizer)))
    params, opt_state, loss = linen_step(params, opt_state)
    theirs.append(float(loss))
  np.testing.assert_allclose(ours, theirs, rtol=1e-4)
  assert ours[-1] < 0.95 * ours[0]
