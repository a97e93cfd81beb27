"""What is chosen, and why, where bytes and seconds say so."""

import jax
import jax.numpy as jnp
import pytest

from lst import cache
from lst.cache import estimate

GIB = 2**30
TAP = jax.ShapeDtypeStruct((1, 197, 768), jnp.bfloat16)
VIT_B = estimate.bytes_per_row([TAP] * 12)
CLIP = 784 * 2**20
HERE = cache.Free(ram=16 * GIB, disk=100 * GIB)


def work(**fields):
  """A VTAB-sized task on ViT-B on a CPU."""
  return cache.Work(**{**dict(
      examples=1000, views=1, epochs=100, row_bytes=VIT_B,
      forward_seconds=0.06), **fields})


@pytest.mark.parametrize('fields, there, mode, why', [
    # A minute or more of passes is kept, less is not.
    ({'forward_seconds': 0.07}, HERE, 'disk', 'spared'),
    ({'forward_seconds': 0.01}, HERE, 'ram', 'soon made again'),
    ({'there': 1000, 'forward_seconds': 0.01}, HERE, 'disk', 'already'),
    ({'forward_seconds': 0.01}, HERE._replace(ram=4 * GIB), 'disk',
     'memory is too small'),
    ({'forward_seconds': 0.07}, HERE._replace(disk=4 * GIB), 'ram', 'soon'),
    ({}, cache.Free(4 * GIB, 4 * GIB), 'off', 'neither half of 4.0 GiB'),
    # ViT-e clips: they do not fit, or are slower read than computed.
    ({'row_bytes': CLIP, 'forward_seconds': 0.5}, HERE, 'off', 'neither half'),
    ({'row_bytes': CLIP, 'forward_seconds': 0.5},
     cache.Free(16 * GIB, 10**14), 'off', 'no slower'),
    # Nothing is read twice.
    ({'epochs': 1}, HERE, 'off', 'no slower'),
    ({'epochs': 4, 'views': 8}, HERE, 'off', 'no slower'),
    ({'epochs': 1.5, 'fit_rows': 1000}, HERE, 'off', 'no slower'),
])
def test_auto(fields, there, mode, why):
  choice = cache.choose('auto', work(**fields), there)
  assert choice.mode == mode
  assert choice.reason.startswith(f'{mode}, as ')
  assert why in choice.reason and '\n' not in choice.reason
  assert set(choice.seconds) <= {'off', 'ram', 'disk'}


def test_the_line_tells_bytes_and_seconds_both_ways():
  line = cache.choose('auto', work(), HERE).reason
  assert '1,000 rows of 3.5 MiB are 3.4 GiB' in line
  assert '100 min computed every time' in line
  assert ' s kept in memory' in line and ' s kept on disk' in line


def test_views_multiply_what_is_made_but_not_what_is_read():
  one, eight = (cache.choose('auto', work(views=v), HERE) for v in (1, 8))
  assert one.seconds['off'] == eight.seconds['off']
  assert eight.seconds['disk'] > 5 * one.seconds['disk']


@pytest.mark.parametrize('mode', ['disk', 'ram', 'off'])
def test_what_is_asked_for_is_taken(mode):
  choice = cache.choose(mode, work(epochs=1), HERE)
  assert choice.mode == mode and 'as asked' in choice.reason


@pytest.mark.parametrize('mode, there, message', [
    ('ram', HERE._replace(ram=GIB), r'1\.0 GiB of memory that is free'),
    ('disk', HERE._replace(disk=GIB), r'1\.0 GiB of disk that is free'),
    ('on', HERE, "mode='on' is none of auto, disk, ram, off"),
])
def test_what_cannot_be_is_told(mode, there, message):
  with pytest.raises(cache.CacheError, match=message):
    cache.choose(mode, work(), there)


def test_what_is_there_needs_no_room():
  """An interrupted cache goes on where it would not begin any more."""
  there = HERE._replace(ram=GIB, disk=4 * GIB)
  with pytest.raises(cache.CacheError, match='1,000 rows of'):
    cache.choose('disk', work(), there)
  with pytest.raises(cache.CacheError, match='900 rows that are missing'):
    cache.choose('disk', work(there=100), there)
  whole, half = (work(there=n) for n in (0, 500))
  for mode in ('disk', 'auto'):
    choice = cache.choose(mode, half, there)
    assert choice.mode == 'disk'
  assert '500 of its rows are there' in choice.reason
  least = cache.choose('disk', whole, HERE).seconds['disk'] / 2
  assert choice.seconds['disk'] - half.epochs * half.bytes / (
      estimate.DISK_RATE) < least


def test_what_is_free_is_looked_up_where_the_caches_will_be(tmp_path):
  there = cache.free(tmp_path / 'not' / 'yet')
  assert there.ram > 2**20 and there.disk > 2**20
