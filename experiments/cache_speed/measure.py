"""How fast random rows of taps are read: formats and ways, side by side.

`python -m experiments.cache_speed.measure --out=FOLDER`, see README.md.
"""

import argparse
import csv
import pathlib
import shutil
import time

import jax.numpy as jnp
import numpy as np

from lst import cache
from lst.cache import shards

BATCH, TAPS, REPEATS = 64, 12, 25
CASES = {'vit_b16_224': (197, 768, 256), 'embedded_64': (64, 192, 1000)}


def build(root: pathlib.Path, tokens: int, width: int, rows: int) -> cache.Disk:
  """A cache of random bf16 taps."""
  rng = np.random.default_rng(0)
  taps = (jnp.asarray(rng.normal(size=(BATCH, tokens, width)), jnp.bfloat16),)

  def produce(asked):
    for start in range(0, len(asked), BATCH):
      label = np.zeros(len(asked[start:start + BATCH]), np.int32)
      yield cache.Produced(taps * TAPS, label)

  recipe = cache.Recipe(
      taps * TAPS, rows, produce, lambda: cache.fit('exact'))
  key = cache.Key(
      f'{tokens} x {width}', {}, '', 'bfloat16', {'name': 'exact'}, {}, '', '')
  return cache.build(root, key, recipe)


def array_record(store: cache.Disk, folder: pathlib.Path):
  """The same rows as records of all taps in one array_record file."""
  from array_record.python.array_record_data_source import (
      ArrayRecordDataSource,
  )
  from array_record.python.array_record_module import ArrayRecordWriter
  path = str(folder / 'rows.arrayrecord')
  writer = ArrayRecordWriter(path, 'group_size:1,uncompressed')
  for row in range(store.rows):
    taps = store.read(np.array([row]))
    writer.write(b''.join(tap.tobytes() for tap in taps))
  writer.close()
  source = ArrayRecordDataSource(path)
  tap = store.about.layout.taps[0]

  def read(rows):
    out = [np.empty((len(rows), tap.row_bytes), np.uint8) for _ in range(TAPS)]
    for i, record in enumerate(source.__getitems__(rows.tolist())):
      parts = np.frombuffer(record, np.uint8).reshape(TAPS, -1)
      for whole, part in zip(out, parts, strict=True):
        whole[i] = part
    return [x.view(jnp.bfloat16).reshape(len(rows), *tap.shape) for x in out]

  return read


def ways(store: cache.Disk, folder: pathlib.Path) -> dict:
  """Functions from rows to taps."""
  arrays = [
      shards.open_array(store.folder, store.about.layout, tap)
      for tap in store.about.layout.taps]
  every = store.read(np.arange(store.rows))
  memory = cache.Memory(store.codebook, store.labels, every)

  def tensorstore(rows):
    futures = [array[rows].read() for array in arrays]
    return [future.result() for future in futures]

  return {
      'tensorstore, checked (first reads)': tensorstore,
      'array_record': array_record(store, folder),
      'lst.cache.Disk, mapped': store.read,
      'lst.cache.Memory': memory.read}


def main() -> None:
  """Measures all ways in turn, so that all meet the same machine."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--out', type=pathlib.Path, required=True)
  args = parser.parse_args()
  lines = []
  for case, (tokens, width, rows) in CASES.items():
    store = build(args.out / 'caches', tokens, width, rows)
    functions = ways(store, args.out)
    times = {name: [] for name in functions}
    rng = np.random.default_rng(1)
    for _ in range(REPEATS):
      asked = rng.permutation(rows)[:BATCH]
      for name, read in functions.items():
        started = time.perf_counter()
        read(asked)
        times[name].append(time.perf_counter() - started)
    size = store.about.layout.row_bytes * BATCH
    for name, taken in times.items():
      median = float(np.median(taken))
      lines.append([case, name, f'{median * 1e3:.1f}',
                    f'{min(taken) * 1e3:.1f}', f'{size / median / 1e9:.1f}'])
      print(*lines[-1], sep='\t')
  shutil.rmtree(args.out / 'caches')
  (args.out / 'rows.arrayrecord').unlink()
  with open(args.out / 'results.csv', 'w', newline='') as file:
    csv.writer(file).writerows(
        [['case', 'way', 'median_ms', 'best_ms', 'gb_per_s'], *lines])


if __name__ == '__main__':
  main()
