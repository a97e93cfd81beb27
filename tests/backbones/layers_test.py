"""Products, norms and attention against their plain forms."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst.backbones import layers

SPECS = {
    'bnd,df->bnf': ((2, 3, 4), (4, 5)),
    'bhnd,bhmd->bhnm': ((2, 3, 4, 5), (2, 3, 6, 5)),
    'bhnm,bhmd->bhnd': ((2, 3, 4, 6), (2, 3, 6, 5)),
}


def draw(*shape, dtype=jnp.float32, seed=0):
  rng = np.random.default_rng(seed + len(shape))
  return jnp.asarray(rng.normal(size=shape), dtype)


@pytest.mark.parametrize('spec', SPECS)
def test_product_and_its_gradients_equal_plain_einsum(spec):
  x, y = (draw(*shape, seed=i) for i, shape in enumerate(SPECS[spec]))
  weight = draw(*jnp.einsum(spec, x, y).shape, seed=7)

  def loss(einsum):
    return jax.value_and_grad(
        lambda x, y: (einsum(spec, x, y) * weight).sum(), argnums=(0, 1))(x, y)

  for found, wanted in zip(
      jax.tree.leaves(loss(layers.product)), jax.tree.leaves(loss(jnp.einsum)),
      strict=True):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('spec', SPECS)
def test_product_of_halves_sums_in_float32(spec):
  x, y = (draw(*s, dtype=jnp.bfloat16, seed=i)
          for i, s in enumerate(SPECS[spec]))
  found, back = jax.vjp(lambda x, y: layers.product(spec, x, y), x, y)
  assert found.dtype == jnp.float32
  wanted = np.einsum(spec, np.float32(x), np.float32(y))
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
  for gradient, operand in zip(back(found), (x, y), strict=True):
    assert (gradient.dtype, gradient.shape) == (operand.dtype, operand.shape)


def test_layer_norm():
  x = draw(2, 3, 8) * 3 + 1
  scale, bias = draw(8, seed=1), draw(8, seed=2)
  y = np.asarray(x, np.float64)
  wanted = (y - y.mean(-1, keepdims=True)) / np.sqrt(
      y.var(-1, keepdims=True) + 0.1) * scale + bias
  np.testing.assert_allclose(
      layers.layer_norm(x, scale, bias, 0.1), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name, at_one', [
    ('gelu', 0.8413447), ('gelu_tanh', 0.8411920), ('quick_gelu', 0.8457958),
    ('silu', 0.7310586)])
def test_activations(name, at_one):
  assert layers.ACTIVATIONS[name](1.0) == pytest.approx(at_one, abs=1e-6)


@pytest.mark.parametrize('attend', [layers.attend, layers._attend_flash])
def test_attention(attend):
  q, k, v = (draw(2, 3, 5, 8, seed=i) for i in range(3))
  scores = np.einsum('bhnd,bhmd->bhnm', q, k) / np.sqrt(8)
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  wanted = np.einsum('bhnm,bhmd->bhnd', weights, v)
  np.testing.assert_allclose(attend(q, k, v), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('weights', 'error'), [
    ({'kernel': jnp.ones((2, 4))}, flax.errors.ScopeParamShapeError),
    ({'bias': jnp.ones(3)}, flax.errors.ScopeParamNotFoundError)])
def test_weights_of_another_shape_and_missing_ones_are_named(weights, error):
  with pytest.raises(error, match='kernel'):
    layers.Dense(3).apply({'params': weights}, jnp.ones((1, 5, 2)))
