"""Rows go in and come out: on disk, in memory, in any order, in threads."""

import concurrent.futures
import gc
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorstore as ts

from lst import cache
from lst.cache import layout, shards
from tests.cache import made


def memory(form='exact', dtype='float32'):
  data = made.taps(dtype)
  return cache.build_in_memory(cache.Recipe(
      data, made.ROWS, made.Producer(data),
      lambda: cache.fit(form, [data], made.NORM, 5)))


def same(left, right):
  return all(
      a.dtype == b.dtype and np.array_equal(a, b)
      for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize('dtype', made.DTYPES)
def test_exact_rows_come_back_bit_for_bit(tmp_path, dtype):
  data = made.taps(dtype)
  store, computed = made.build(tmp_path, dtype=dtype)
  assert computed == list(range(made.ROWS))
  again, computed = made.build(tmp_path, dtype=dtype)
  assert not computed
  for which in (store, again, memory(dtype=dtype)):
    assert isinstance(which, cache.Store) and which.rows == made.ROWS
    # First through the checksums, then mapped, then some of each.
    for rows in ([5, 0, 36, 5, 3], [0, 36, 3], [3, 9, 36, 10, 5]):
      rows = np.array(rows)
      read = which.read(rows)
      assert same(read, [x[rows] for x in data])
      assert all(x.flags.c_contiguous and x.flags.writeable for x in read)
    assert np.array_equal(which.labels, made.labels(range(made.ROWS)))
    assert [len(x) for x in which.read(np.zeros(0, int))] == [0, 0, 0]


@pytest.mark.parametrize('form', cache.FORMS)
@pytest.mark.parametrize('dtype', made.DTYPES)
def test_memory_and_disk_hold_the_same(tmp_path, form, dtype):
  store, _ = made.build(tmp_path, form, dtype)
  rows = np.arange(made.ROWS)[::-1]
  assert same(store.read(rows), memory(form, dtype).read(rows))
  reopened = cache.Disk(store.folder)
  left, right = (
      cache.expand(x.read(rows), x.codebook)
      for x in (reopened, memory(form, dtype)))
  assert same(left.taps, right.taps)
  assert all(np.array_equal(np.float32(a), b) for a, b in zip(
      right.norm, left.norm, strict=True))


def test_a_batch_is_padded_and_masked(tmp_path):
  for store in (made.build(tmp_path)[0], memory()):
    rows = np.array([7, -1, 36, -1])
    stored, label, mask = store.batch(rows)
    assert mask.tolist() == [1, 0, 1, 0] and mask.dtype == np.float32
    assert label.tolist() == [*made.labels([7]), 0, *made.labels([36]), 0]
    for x, whole in zip(stored, made.taps(), strict=True):
      assert np.array_equal(x[0], whole[7]) and np.array_equal(x[2], whole[36])
      assert not x[1].any() and not x[3].any()


def test_rows_outside_are_told(tmp_path):
  for store in (made.build(tmp_path)[0], memory()):
    for rows in ([0, 37], [-1]):
      with pytest.raises(IndexError, match='the cache has 0 to 36'):
        store.read(np.array(rows))


def test_threads_may_read(tmp_path):
  store, _ = made.build(tmp_path)
  rng = np.random.default_rng(0)
  asked = [rng.integers(0, made.ROWS, 9) for _ in range(60)]
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    for rows, read in zip(asked, pool.map(store.read, asked), strict=True):
      assert same(read, [x[rows] for x in made.taps()])


def test_files_that_are_mapped_are_few(tmp_path, monkeypatch):
  stores = [made.build(tmp_path / x)[0] for x in 'ab']
  every = np.arange(made.ROWS)
  for store in stores:
    store.read(every)
  gc.collect()
  # Two shards of each of the three taps of both.
  monkeypatch.setattr(shards, 'MOST_MAPPED', 2 * len(shards._LIVE))
  before = mapped(tmp_path)
  for store in 2 * stores:
    assert same(store.read(every[::-1]), [x[::-1] for x in made.taps()])
  assert not before and len(mapped(tmp_path)) == 2 * 3 * 2
  del stores, store
  gc.collect()
  assert not mapped(tmp_path)


def mapped(root):
  maps = pathlib.Path('/proc/self/maps').read_text().splitlines()
  return [line for line in maps if str(root) in line]


def test_mapped_files_leave_descriptors_to_others():
  """In a process of its own, as the limit is the process's."""
  code = (
      'import resource; from lst.cache import shards\n'
      'LIMIT = resource.RLIMIT_NOFILE\n'
      'resource.setrlimit(LIMIT, ({soft}, {hard}))\n'
      'print(shards.most_mapped(), resource.getrlimit(LIMIT))')
  for soft, hard, told in (
      (256, 600, '300 (600, 600)'), (64, 64, '32 (64, 64)')):
    done = subprocess.run(
        [sys.executable, '-c', code.format(soft=soft, hard=hard)],
        capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told


def test_a_file_that_goes_while_it_is_read_is_told(tmp_path):
  store, _ = made.build(tmp_path)
  store.read(np.arange(made.ROWS))
  (store.folder / 'tap_01/c/2/0/0').unlink()
  with pytest.raises(cache.CacheError, match=r'tap_01/c/2.*computes it'):
    store.read(np.array([17]))


def test_any_reader_of_zarr_opens_a_tap(tmp_path):
  store, _ = made.build(tmp_path, dtype='bfloat16')
  array = ts.open({'driver': 'zarr3', 'kvstore': {
      'driver': 'file', 'path': f'{store.folder / "tap_01"}/'}}).result()
  assert np.array_equal(array.read().result(), made.taps('bfloat16')[1])


def test_the_folder_is_the_key_and_says_what_it_is(tmp_path):
  store, _ = made.build(tmp_path, note={'backbone': 'tiny'})
  digest = made.key().digest
  assert len(digest) == 64 and store.folder.name == digest[:20]
  about = layout.read_about(store.folder)
  assert about.key['preprocessing'] == {
      'image_size': [16, 16], 'mean': [0.5, 0.5, 0.5]}
  assert about.note == {'backbone': 'tiny'} and about.form == 'exact'
  assert about.layout.shards == 5 and about.layout.shard_rows == 8
  assert {'jax', 'tensorstore'} <= set(about.versions) and about.command


def test_sizes_of_files_are_known_ahead(tmp_path):
  for form in cache.FORMS:
    store, _ = made.build(tmp_path, form)
    plan = store.about.layout
    size = sum(p.stat().st_size for p in store.folder.rglob('c/*/**/*')
               if p.is_file())
    size += sum(p.stat().st_size for p in (store.folder / 'label/c').iterdir())
    assert size == sum(
        plan.file_bytes(a, s) for a in plan.arrays for s in range(plan.shards))


@pytest.mark.parametrize('rows', [made.ROWS - 1, made.ROWS + 1])
def test_another_number_of_rows_is_told(tmp_path, rows):
  class Wrong(made.Producer):
    def __call__(self, _):
      return super().__call__(np.arange(rows) % made.ROWS)

  producer = Wrong(made.taps())
  with pytest.raises(cache.CacheError, match='asked for'):
    made.build(tmp_path, producer=producer)
  with pytest.raises(cache.CacheError, match='asked for'):
    cache.build_in_memory(cache.Recipe(
        made.taps(), made.ROWS, producer, lambda: cache.fit('exact', [])))


def test_nothing_to_keep_is_told(tmp_path):
  with pytest.raises(cache.CacheError, match='nothing to keep'):
    cache.build(tmp_path, made.key(), cache.Recipe(
        made.taps(), 0, made.Producer(()), lambda: cache.fit('exact', [])))


def test_the_root(monkeypatch, tmp_path):
  monkeypatch.delenv('LST_CACHE', raising=False)
  assert cache.root_of() == pathlib.Path.home() / '.cache/lst/features'
  monkeypatch.setenv('LST_CACHE', str(tmp_path))
  assert cache.root_of() == tmp_path
  assert cache.root_of('/elsewhere') == pathlib.Path('/elsewhere')
