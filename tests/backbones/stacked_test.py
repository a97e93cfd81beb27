"""Blocks as a stack: the loop's numbers, from device, host memory or disk."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst.backbones import backbone as backbones
from lst.backbones import placing, stacked
from tests import tiny
from tests.backbones import vit_test


@pytest.mark.parametrize('name', vit_test.VARIANTS)
def test_a_scan_gives_the_states_of_the_loop(name):
  vit, images = vit_test.VARIANTS[name], vit_test.images()
  params, seen = vit_test.random_params(vit), {}

  def at(k, x):
    seen[k] = x
    return x

  vit.apply({'params': params}, images, at)
  frozen = stacked.stack(params, vit.depth)
  ours = jax.jit(lambda f, x: stacked.states(vit, f, x))(frozen, images)
  assert ours.shape == (vit.depth, *seen[0].shape)
  for block, state in enumerate(ours):
    np.testing.assert_allclose(
        state, seen[2 * block + 2], rtol=1e-5, atol=1e-5)
    assert np.abs(state - seen[2 * block]).max() > 0.1


def test_unstacking_gives_back_what_was_stacked():
  params = vit_test.random_params(vit_test.TINY)
  depth = vit_test.TINY.depth
  back = stacked.unstacked(stacked.stack(params, depth), depth)
  jax.tree.map(np.testing.assert_array_equal, back, params)


def program(vit, blocks: str) -> str:
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  params = jax.eval_shape(vit.init, jax.random.key(0), image)['params']
  if blocks == 'loop':
    function = lambda p, x: vit.apply({'params': p}, x)  # noqa: E731
  else:
    params = jax.eval_shape(lambda p: stacked.stack(p, vit.depth), params)
    function = lambda p, x: stacked.states(vit, p, x)  # noqa: E731
  return jax.jit(function).lower(params, image).as_text()


def test_the_program_of_a_scan_is_as_long_at_any_depth():
  shallow, deep = (vit_test.TINY.clone(depth=n) for n in (2, 24))
  assert program(deep, 'scan').count('\n') == program(
      shallow, 'scan').count('\n')
  assert program(deep, 'loop').count('\n') > 4 * program(
      shallow, 'loop').count('\n')
