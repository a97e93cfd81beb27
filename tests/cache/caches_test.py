"""Listing, verifying and pruning: only ever what is a cache of ours."""

import gc
import os
import shutil

import numpy as np
import pytest

from lst import cache
from lst.cache import caches, claims, folders
from tests.cache import made

DAY = 86400


@pytest.fixture
def root(tmp_path):
  """Three caches of different ages, one incomplete, among strangers."""
  for days, form in enumerate(cache.FORMS):
    folder = made.build(tmp_path, form)[0].folder
    if form == 'int8':
      (folder / 'tap_00/c/0/0/0').unlink()
    os.utime(folder / 'about.json', (1e9 - days * DAY,) * 2)
  (tmp_path / 'photos').mkdir()
  (tmp_path / 'photos/cat.jpg').write_bytes(b'cat')
  # One that is named like a cache, one that was renamed, one that is linked.
  (tmp_path / ('a' * 20)).mkdir()
  (tmp_path / ('a' * 20) / 'about.json').write_text('{"format": "mine"}')
  exact = cache.folder_of(tmp_path, made.key())
  shutil.copytree(exact, tmp_path / ('b' * 20))
  shutil.copytree(exact, tmp_path / 'elsewhere')
  os.symlink(tmp_path / 'elsewhere', tmp_path / ('c' * 20))
  return tmp_path


def strangers(root):
  names = {cache.folder_of(root, made.key(form)).name for form in cache.FORMS}
  return {
      path: path.read_bytes() for path in root.rglob('*')
      if path.is_file() and not names & set(path.parts)
      and '.locks' not in path.parts}


def forms(found):
  return [one.about.form for one in found]


def test_only_caches_are_found_last_used_first(root):
  found = caches.find(root)
  assert forms(found) == ['exact', 'int8', 'projected']
  assert [one.missing for one in found] == [0, 1, 0]
  for one in found:
    files = [p for p in one.folder.rglob('*') if p.is_file()]
    assert one.bytes == sum(p.stat().st_size for p in files)
  assert caches.find(root / 'nowhere') == []


@pytest.mark.parametrize('rules, gone', [
    ({'days': 1.5}, ['projected']),
    ({'days': 0.5}, ['int8', 'projected']),
    ({'incomplete': True}, ['int8']),
    ({'most_bytes': 0}, ['exact', 'int8', 'projected']),
    ({'most_bytes': 10**9}, []),
    ({'days': 1.5, 'incomplete': True}, ['int8', 'projected']),
    ({}, []),
])
def test_which_caches_may_go(root, rules, gone):
  found = caches.find(root)
  assert forms(caches.stale(found, now=1e9, **rules)) == gone


def test_the_least_lately_used_go_first(root):
  found = caches.find(root)
  most = found[0].bytes + found[1].bytes
  assert forms(caches.stale(found, most_bytes=most)) == ['projected']
  assert forms(caches.stale(found, most_bytes=most - 1)) != ['projected']


def test_deleting_all_leaves_strangers_alone(root):
  before = strangers(root)
  assert len(before) > 10
  assert all(caches.delete(one) for one in caches.find(root))
  assert strangers(root) == before
  assert not caches.find(root)
  assert not cache.folder_of(root, made.key()).exists()


def test_a_link_to_a_cache_is_not_one(root):
  folder = cache.folder_of(root, made.key('int8'))
  folder.rename(root / 'moved')
  folder.symlink_to(root / 'moved')
  assert forms(caches.find(root)) == ['exact', 'projected']


def test_what_a_person_put_into_a_cache_stays(root):
  one = caches.find(root)[0]
  (one.folder / 'notes.txt').write_text('mine')
  said = []
  assert not caches.delete(one, said.append)
  assert [p.name for p in one.folder.iterdir()] == ['notes.txt']
  assert 'also holds notes.txt' in said[0]


def test_a_cache_that_is_being_written_stays(root):
  one = caches.find(root)[0]
  said = []
  with folders.locked(one.folder):
    assert not caches.delete(one, said.append)
  assert 'another process' in said[0]
  assert not caches.verify(one)


def test_a_cache_that_is_being_read_stays(root, monkeypatch):
  one = caches.find(root)[-1]
  store, said = cache.Disk(one.folder), []
  assert not caches.delete(one, said.append)
  assert 'is being read' in said[0] and f'process {os.getpid()}' in said[0]
  # What goes on reading goes on using it.
  os.utime(one.folder / 'about.json', (0, 0))
  store.read(np.arange(2))
  assert caches.find(root)[-1].used == 0
  monkeypatch.setattr(claims, 'READING', 0.0)
  store.read(np.arange(2))
  monkeypatch.undo()
  assert caches.find(root)[0].folder == one.folder
  del store
  gc.collect()
  assert caches.delete(one)


def test_a_reader_of_another_machine_is_over_when_it_is_not_heard_of(root):
  one = caches.find(root)[0]
  sign = root / '.locks' / f'{one.folder.name}.readers' / 'elsewhere-7-0'
  sign.write_text('{"host": "elsewhere", "pid": 7}')
  assert claims.readers(one.folder) == ['elsewhere, process 7']
  os.utime(sign, (0, 0))
  assert not claims.readers(one.folder) and caches.delete(one)


def test_opening_a_cache_is_using_it(root):
  last = caches.find(root)[-1]
  cache.Disk(last.folder)
  assert caches.find(root)[0].folder == last.folder


def test_verify_lists_damage_and_repair_deletes_it(root):
  one = caches.find(root)[0]
  assert not caches.verify(one)
  for name in ('tap_00/c/2/0/0', 'tap_01/c/4/0/0'):
    content = bytearray((one.folder / name).read_bytes())
    content[7] ^= 4
    (one.folder / name).write_bytes(content)
  found = caches.verify(one)
  assert len(found) == 2
  assert 'shard 2 of tap_00: wrong checksum' in found[0]
  assert caches.repair(one) == 2 and caches.repair(one) == 0
  store, computed = made.build(root)
  assert len(set(computed)) == 8 + 5
  assert np.array_equal(store.read(np.arange(37))[0], made.taps()[0])
  assert not caches.verify(one)
