"""The key: every ingredient counts, and nothing else does."""

import jax.numpy as jnp
import numpy as np
import pytest

from lst import cache
from lst.cache import key as keys
from tests.cache import made

OTHER = dict(
    backbone='c', preprocessing={'image_size': (16, 17), 'mean': (0.5,) * 3},
    features='taps, summed', dtype='bfloat16',
    form={'name': 'exact', 'rank': 6},
    views={'augment': 'none', 'views': 2}, examples='f', fitted_on='f')


@pytest.mark.parametrize('field', cache.Key._fields)
def test_every_ingredient_counts(field):
  key = made.key()
  assert key._replace(**{field: OTHER[field]}).digest != key.digest


def test_the_same_ingredients_in_another_order_are_the_same_key():
  key = made.key()
  turned = key._replace(
      preprocessing=dict(reversed(list(key.preprocessing.items()))))
  assert list(turned.preprocessing) != list(key.preprocessing)
  assert turned.digest == key.digest


def test_the_key_is_what_it_was():
  """A change here makes every cache anew: raise `key.VERSION`, and know it."""
  assert made.key().digest == (
      '393eb01e173e3347be5fb5e5c10bc8b3cbce1f66bc4ecee78f70c50c88449bae')


def test_a_new_version_is_another_key(monkeypatch):
  before = made.key().digest
  monkeypatch.setattr(keys, 'VERSION', keys.VERSION + 1)
  assert made.key().digest != before


WEIGHTS = {'a': {'kernel': np.arange(6.0).reshape(2, 3)}, 'b': np.float32(2)}


@pytest.mark.parametrize('change', [
    lambda w: {**w, 'b': np.float32(3)},
    lambda w: {**w, 'b': np.float64(2)},
    lambda w: {'a': w['a'], 'c': w['b']},
    lambda w: {**w, 'a': {'kernel': w['a']['kernel'].reshape(3, 2)}},
    lambda w: {**w, 'a': {'kernel': w['a']['kernel'][::-1]}},
])
def test_every_weight_counts(change):
  assert cache.digest_of(change(WEIGHTS)) != cache.digest_of(WEIGHTS)


def test_where_weights_lie_does_not_count():
  for dtype in (np.float32, jnp.bfloat16):
    x = np.arange(6, dtype=dtype).reshape(2, 3)
    assert cache.digest_of([x]) == cache.digest_of([jnp.asarray(x)])
    assert cache.digest_of([x]) == cache.digest_of([np.asfortranarray(x)])
