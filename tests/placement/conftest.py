"""The tiny backbone in both precisions, adapters on edges of every kind."""

import pytest

from lst.backbones import backbone as backbones
from tests import tiny

# Two of each kind, states shared by three, the first and the last state.
EDGES = ((0, 0), (0, 1), (2, 3), (3, 3), (0, 3), (5, 3), (6, 2), (4, 6), (6, 6),
         (1, 4))


@pytest.fixture(scope='session', params=['float32', 'bfloat16'])
def precise(request, weights):
  """The tiny backbone in one precision and in the other."""
  config = tiny.config(weights).backbone
  config.dtype = request.param
  return backbones.build(config)
