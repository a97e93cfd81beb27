"""Shapes and types are checked while the tests run."""

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

from lst import Features, LowRank, SideNetwork, losses, metrics
from lst.backbones import layers

ONE, TWO, THREE = jnp.ones(1), jnp.ones(2), jnp.ones((2, 3))
LABELS = jnp.zeros(2, jnp.int32)


def test_what_fits_passes():
  assert metrics.sums(TWO, THREE, LABELS, TWO).count == 2
  assert layers.layer_norm(THREE, jnp.ones(3), jnp.ones(3), 1e-6).shape == (
      2, 3)


@pytest.mark.parametrize('call', [
    # Each would broadcast to a wrong number without a word.
    lambda: metrics.sums(ONE, THREE, LABELS, TWO),
    lambda: metrics.sums(TWO, THREE, LABELS, ONE),
    lambda: layers.layer_norm(THREE, jnp.ones(1), jnp.ones(3), 1e-6),
    # Each is of another type.
    lambda: metrics.sums(TWO, THREE, LABELS.astype(jnp.float32), TWO),
    lambda: losses.cross_entropy(THREE, LABELS, smoothing='none'),
])
def test_what_does_not_fit_is_refused(call):
  with pytest.raises(jaxtyping.TypeCheckError):
    call()


def test_the_side_network_is_checked_inside():
  features = Features((jnp.ones((2, 5, 4)),) * 2)
  network = SideNetwork(LowRank(rank=2), classes=3)
  params = network.init(jax.random.key(0), features)
  assert network.apply(params, features).shape == (2, 3)
  with pytest.raises(jaxtyping.TypeCheckError):
    network.apply(params, features.taps)
