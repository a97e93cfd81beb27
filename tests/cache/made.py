"""A small cache of known features, in this process or in one of its own.

`python -m tests.cache.made ROOT PAUSE` builds it, sleeping PAUSE seconds ahead
of every batch, and prints which rows it computed.
"""

import pathlib
import sys
import time

import jax.numpy as jnp
import ml_dtypes
import numpy as np

from lst import cache
from lst.features import Norm

ROWS, TOKENS, WIDTH, BATCH = 37, 6, 16, 4
# Eight rows a shard over the three taps in f32.
SHARD_BYTES = 8 * 4 * (2 * TOKENS * WIDTH + WIDTH)
DTYPES = {'float32': np.float32, 'bfloat16': ml_dtypes.bfloat16}
NORM = Norm(jnp.full(WIDTH, 1.5), jnp.full(WIDTH, 0.25), 1e-6)


def taps(dtype='float32', rows=ROWS, seed=0):
  """Two taps of all tokens, correlated and off centre, and one of a token."""
  rng = np.random.default_rng(seed)
  mix = rng.normal(size=(WIDTH, WIDTH)) * 2.0 ** -np.arange(WIDTH)[:, None]
  whole = [
      rng.normal(size=(rows, TOKENS, WIDTH)) @ mix + rng.normal(size=WIDTH)
      for _ in range(2)]
  whole[0][3] = 0
  single = rng.normal(size=(rows, 1, WIDTH))
  return tuple(x.astype(DTYPES[dtype]) for x in (*whole, single))


class Producer:
  """`produce`, which remembers the rows it was asked for."""

  def __init__(self, data, pause=0.0, most=10**9):
    self.data, self.pause, self.most = data, pause, most
    self.rows = []

  def __call__(self, rows):
    for start in range(0, len(rows), BATCH):
      time.sleep(self.pause)
      now = rows[start:start + BATCH]
      if len(self.rows) + len(now) > self.most:
        raise InterruptedError
      self.rows += now.tolist()
      # The last batch is padded, as that of a pipeline is.
      padded = np.resize(now, BATCH)
      yield cache.Produced(
          tuple(jnp.asarray(x[padded]) for x in self.data), labels(now))


def labels(rows):
  """Of some rows."""
  return (np.asarray(rows) * 7 % 10).astype(np.int32)


def key(form='exact', dtype='float32', **fields):
  """A key; any field may differ."""
  return cache.Key(**{**dict(
      backbone='b', preprocessing={'image_size': (16, 16), 'mean': (0.5,) * 3},
      features='taps', dtype=dtype, form={'name': form, 'rank': 5},
      views={'augment': 'none', 'views': 1}, examples='e', fitted_on='e'),
      **fields})


def build(root, form='exact', dtype='float32', producer=None, **options):
  """Builds or opens it; (the store, the rows that were computed)."""
  data = taps(dtype)
  producer = producer or Producer(data)

  def fit():
    return cache.fit(form, [tuple(map(jnp.asarray, data))], NORM, 5)

  store = cache.build(
      pathlib.Path(root), key(form, dtype),
      cache.Recipe(data, ROWS, producer, fit),
      **{'shard_bytes': SHARD_BYTES, 'say': lambda text: None, **options})
  return store, producer.rows


if __name__ == '__main__':
  slow = Producer(taps(), pause=float(sys.argv[2]))
  _, computed = build(sys.argv[1], producer=slow, say=print, unit_rows=8)
  print('computed', len(computed))
