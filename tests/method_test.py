"""What a method refuses, by the name of the field of the config."""

import jax
import pytest

from lst import Features, method, side
from tests import tiny


@pytest.mark.parametrize('case, fields, said', [
    ('losa', {'side.residual': 'foo'},
     r'config\.side: residual=.foo. is none of running, figure, sum'),
    ('losa', {'side.rank': 0}, r'config\.side: rank=0 has to be at least 1'),
    ('losa', {'side.skip': 3}, r'config\.side: skip=3 has to be from 0 to 2'),
    ('attentive', {'side.heads': 7},
     r'config\.side: heads=7 has to divide the 24 channels; 0 takes the most'),
    ('losa', {'side.pool': 'max'}, r'^config\.side\.pool='),
    ('last', {'side.taps': (6,)},
     r'config\.side: LAST needs two taps or more, and there is one'),
    ('losa', {'method': 'placed', 'placement.rank': -1},
     r'config\.placement\.rank=-1 has to be at least 1, or 0'),
])
def test_a_value_that_does_not_fit_is_told_by_its_field(
    case, fields, said, weights, backbone, batch):
  config = tiny.config(weights, ('side', case))
  config.update_from_flattened_dict(fields)
  with pytest.raises(ValueError, match=said):
    built = method.build(config, backbone, tiny.CLASSES)
    jax.eval_shape(
        built.init, jax.random.key(0), backbone.frozen, batch.inputs)


@pytest.mark.parametrize('width, heads', [
    (192, 12), (768, 12), (1024, 8), (1280, 10), (1408, 11), (1792, 8)])
def test_the_attentive_probe_has_heads_for_every_width(width, heads):
  tokens = jax.ShapeDtypeStruct((2, 3, width), 'float32')
  params = jax.eval_shape(
      side.Attentive().init, jax.random.key(0), Features((tokens,)))
  assert params['params']['query'].shape == (heads, width)

