"""Depth-wise convolution against XLA's own, and ST-Adapter against it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst.depthwise import depthwise
from lst.tuning import st_adapter
from tests import tiny

T, H, W, R = 3, 4, 4, 5


def of_xla(x, kernel):
  """Grouped, each channel a group of its own."""
  return jax.lax.conv_general_dilated(
      x, kernel[..., None, :], (1, 1, 1), 'SAME',
      dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
      feature_group_count=x.shape[-1])


@pytest.mark.parametrize('sides', [(3, 1, 1), (1, 3, 5)])
def test_equals_a_grouped_convolution(sides):
  x = jax.random.normal(jax.random.key(0), (2, T, H, W, R))
  kernel = jax.random.normal(jax.random.key(1), (*sides, R))
  np.testing.assert_allclose(
      depthwise(x, kernel), of_xla(x, kernel), rtol=1e-5, atol=1e-5)


def test_an_st_adapter_convolves_the_patches_of_a_clip(backbone):
  """And leaves CLS and register tokens, and layers without one, as they are."""
  backbone = backbone._replace(frames=T)
  tuned = st_adapter(backbone, rank=R, kernel=(3, 3, 1), where='mlp')
  params = tiny.random_like(
      jax.eval_shape(tuned.init, jax.random.key(0), backbone.frozen))
  assert sorted(params) == ['layer_1', 'layer_3', 'layer_5']
  x = jax.random.normal(
      jax.random.key(2), (2 * T, tiny.TOKENS, tiny.VIT.width))
  hook, p = tuned.at(params, backbone.frozen), params['layer_3']
  h = x[:, backbone.prefix:] @ p['down'] + p['down_bias']
  h = of_xla(h.reshape(2, T, H, W, R), p['kernel']) + p['kernel_bias']
  h = h.reshape(2 * T, H * W, R) @ p['up'] + p['up_bias']
  expected = x.at[:, backbone.prefix:].add(h)
  np.testing.assert_allclose(hook(3, x), expected, rtol=1e-4, atol=1e-4)
  assert jnp.array_equal(hook(2, x), x)


@pytest.mark.parametrize('kernel', [(2, 1, 1), (3, 1), (3, 0, 1)])
def test_a_kernel_that_cannot_be_is_told(kernel, backbone):
  with pytest.raises(ValueError, match=r'kernel=.* three odd numbers'):
    st_adapter(backbone, kernel=kernel)
