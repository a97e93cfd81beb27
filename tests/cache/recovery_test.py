"""A cache that was killed, damaged or built twice at once becomes whole."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

import filelock
import numpy as np
import pytest

from lst import cache
from lst.cache import claims, folders, layout, making, manifest, shards
from tests.cache import made

SHARD = 8


def whole(store):
  read = store.read(np.arange(made.ROWS))
  return all(map(np.array_equal, read, made.taps())) and np.array_equal(
      store.labels, made.labels(range(made.ROWS)))


def rows_of(*numbers):
  return [row for n in numbers
          for row in range(SHARD * n, min(SHARD * (n + 1), made.ROWS))]


def start(root, pause):
  return subprocess.Popen(
      [sys.executable, '-m', 'tests.cache.made', str(root), str(pause)],
      stdout=subprocess.PIPE, text=True, cwd=os.getcwd(),
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'})


def wait_for(condition, seconds=60):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, 'waited too long'
    time.sleep(0.01)


def test_killed_in_the_middle_it_goes_on_with_the_missing_shards(tmp_path):
  folder = cache.folder_of(tmp_path, made.key())
  # It is begun when all of shards 0 and 1 is there.
  third = shards.path_of(folder, layout.Array('tap_00', (1, 1), ''), 2)
  with start(tmp_path, 0.3) as process:
    wait_for(third.exists)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
  with pytest.raises(cache.CacheError, match=r'shard [2-4].*missing'):
    cache.Disk(folder)
  said = []
  store, computed = made.build(tmp_path, say=said.append)
  assert whole(store)
  assert computed and set(computed) <= set(rows_of(2, 3, 4))
  assert any('of 5 shards' in text for text in said)


def test_two_writers_at_once_compute_it_once(tmp_path):
  writers = [start(tmp_path, 0.1) for _ in range(2)]
  told = [writer.communicate(timeout=100)[0] for writer in writers]
  assert [writer.returncode for writer in writers] == [0, 0]
  assert sum(int(text.split()[-1]) for text in told) == made.ROWS
  assert whole(cache.Disk(cache.folder_of(tmp_path, made.key())))


def test_a_second_writer_says_what_it_waits_for(tmp_path):
  folder = cache.folder_of(tmp_path, made.key())

  class Told(Exception):
    pass

  def say(text):
    raise Told(text)

  with folders.locked(folder):
    with pytest.raises(Told, match=rf'{folder}: waiting'):
      made.build(tmp_path, say=say)
    with pytest.raises(cache.CacheError, match='in use by another process'):
      folders.discard(folder, [])


def test_workers_share_the_shards_and_finish_those_of_one_that_is_killed(
    tmp_path):
  folder = cache.folder_of(tmp_path, made.key())
  # It sleeps over its first rows.
  with start(tmp_path, 60) as killed:
    wait_for(lambda: claims.held(folder))
    others = [start(tmp_path, 0.1) for _ in range(2)]
    wait_for(lambda: len(set(claims.held(folder).values())) > 1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
  told = [worker.communicate(timeout=100)[0] for worker in others]
  assert [worker.returncode for worker in others] == [0, 0]
  assert sum(int(text.split()[-1]) for text in told) == made.ROWS
  assert whole(cache.Disk(folder))
  assert not claims.held(folder)
  told = json.loads((folder / manifest.MANIFEST).read_text())
  assert told['complete'] and told['rows_done'] == made.ROWS
  assert not told['missing'] and not told['making']


def test_a_lease_ends_with_its_process_or_its_time(tmp_path):
  folder = tmp_path / 'cache'
  with claims.Claims(folder) as mine, claims.Claims(folder, 0.2) as other:
    assert mine.take([0, 1, 2], 2) == [0, 1]
    assert other.take([0, 1, 2], 9) == [2]
    assert sorted(claims.held(folder)) == [0, 1, 2]
    # Held by another machine, whose processes nobody here knows.
    path = tmp_path / '.locks' / 'cache.claims' / '0'
    path.write_text(json.dumps({'host': 'elsewhere', 'pid': 1}))
    assert claims.held(folder)[0] == 'elsewhere, process 1'
    assert other.take([0], 1) == []
    os.utime(path, (0, 0))
    assert other.take([0], 1) == [0]
    # Of this machine, but gone.
    gone = {'host': socket.gethostname(), 'pid': 2**22 + 1}
    (tmp_path / '.locks' / 'cache.claims' / '1').write_text(json.dumps(gone))
    assert other.take([1], 1) == [1]
    # A lease that is touched outlives its time.
    time.sleep(0.5)
    assert 2 in claims.held(folder, 0.2)
  assert not claims.held(folder)


def test_nothing_is_deleted_while_a_worker_holds_a_lease(tmp_path):
  store, _ = made.build(tmp_path)
  with claims.Claims(store.folder) as own:
    own.take([1], 1)
    with pytest.raises(cache.CacheError, match='in use by another process'):
      folders.discard(store.folder, [])
  folders.discard(store.folder, [])


@pytest.mark.parametrize('most', [0, 3, 8, 20, 36])
def test_stopped_by_an_error_it_keeps_its_shards(tmp_path, most):
  stopped = made.Producer(made.taps(), most=most)
  with pytest.raises(InterruptedError):
    made.build(tmp_path, producer=stopped)
  store, computed = made.build(tmp_path)
  assert whole(store)
  # Batches run one ahead, and a shard counts once it is all there.
  assert computed[0] % SHARD == 0
  assert len(computed) >= made.ROWS - most
  assert len(computed) <= made.ROWS - most + SHARD + 2 * made.BATCH


def flip(path, byte=100):
  content = bytearray(path.read_bytes())
  content[byte] ^= 1
  path.write_bytes(content)


def cut(path):
  path.write_bytes(path.read_bytes()[:-3])


def lose(path):
  path.unlink()


@pytest.mark.parametrize('harm, why', [
    (flip, 'checksum'), (cut, 'bytes instead of'), (lose, 'missing')])
@pytest.mark.parametrize('name, numbers', [
    ('tap_00', [1]), ('tap_02', [0, 4]), ('label', [2])])
def test_a_damaged_shard_is_found_and_computed_alone(
    tmp_path, harm, why, name, numbers):
  store, _ = made.build(tmp_path)
  arrays = {array.name: array for array in store.about.layout.arrays}
  for number in numbers:
    harm(shards.path_of(store.folder, arrays[name], number), *(
        [3] if harm is flip and name == 'label' else []))
  found = folders.faults(store.folder, store.about.layout, checksums=True)
  assert [(f.array, f.shard) for f in found] == [(name, n) for n in numbers]
  assert all(why in fault.why for fault in found)
  store, computed = made.build(tmp_path, checksums=True)
  assert computed == rows_of(*numbers)
  assert whole(store)
  assert not folders.faults(store.folder, store.about.layout, checksums=True)


def test_a_flipped_bit_is_told_when_its_row_is_first_read(tmp_path):
  store, _ = made.build(tmp_path)
  # Row 10 is the third of shard 1.
  row = store.about.layout.taps[0].row_bytes + layout.CRC
  flip(store.folder / 'tap_00/c/1/0/0', 2 * row + 5)
  store, computed = made.build(tmp_path)
  assert not computed, 'the size of the file is right'
  store.read(np.array([8, 9, 30]))
  with pytest.raises(
      cache.CacheError, match=r'shard 1 of tap_00.*checksum.*computes it'):
    store.read(np.array([30, 10]))
  # The same command, without looking at every checksum, makes it whole.
  store, computed = made.build(tmp_path)
  assert computed == rows_of(1)
  assert whole(store)


def test_a_reader_leaves_shards_alone_while_another_process_writes(tmp_path):
  store, _ = made.build(tmp_path)
  path = store.folder / 'tap_00/c/0/0/0'
  flip(path)
  lock = filelock.FileLock(tmp_path / '.locks' / f'{store.folder.name}.lock')
  with lock, pytest.raises(cache.CacheError, match='shard 0 of tap_00'):
    store.read(np.arange(5))
  assert path.exists()
  with pytest.raises(cache.CacheError, match='shard 0 of tap_00'):
    store.read(np.arange(5))
  assert not path.exists()


def test_a_shard_that_goes_under_a_reader_is_told_not_read_as_zeros(tmp_path):
  store, _ = made.build(tmp_path)
  lose(store.folder / 'tap_01/c/4/0/0')
  store.read(np.array([0]))
  with pytest.raises(cache.CacheError, match=r'shard 4 of tap_01.*missing'):
    store.read(np.array([36]))


def test_who_comes_late_deletes_nothing_that_was_just_made(
    tmp_path, monkeypatch):
  """Between its look and its hand another process makes what it lacks."""
  store, _ = made.build(tmp_path)
  folder, plan = store.folder, store.about.layout
  missing, damaged = (folder / f'tap_00/c/{n}/0/0' for n in (1, 3))
  content = {path: path.read_bytes() for path in (missing, damaged)}
  lose(missing)
  cut(damaged)
  looks = folders.faults

  def then_made(*args):
    found = looks(*args)
    for path, whole in content.items():
      path.write_bytes(whole)
    return found

  monkeypatch.setattr(folders, 'faults', then_made)
  with folders.locked(folder):
    assert making._missing(folder, plan, False, lambda text: None) == [1, 3]
  assert all(path.read_bytes() == whole for path, whole in content.items())
  # One that is at it deletes by itself what it writes anew.
  monkeypatch.undo()
  cut(damaged)
  with claims.Claims(folder) as other:
    other.take([3], 1)
    making._missing(folder, plan, False, lambda text: None)
    assert damaged.exists()
  making._missing(folder, plan, False, lambda text: None)
  assert not damaged.exists() and missing.exists()


def test_who_has_lost_its_lease_deletes_nothing_that_is_whole(tmp_path):
  store, _ = made.build(tmp_path)
  about, folder = store.about, store.folder
  lose(folder / 'tap_00/c/2/0/0')
  stopped = made.Producer(made.taps(), most=0)
  data = made.taps()
  work = making._Work(
      folder, about.layout, cache.Recipe(data, made.ROWS, stopped, None),
      store.codebook, None, print)
  with pytest.raises(InterruptedError):
    work._write([0, 2], 0, made.ROWS)
  found = folders.faults(folder, about.layout)
  assert {fault.shard for fault in found} == {2}


@pytest.mark.parametrize('number', [errno.EACCES, errno.EROFS])
def test_a_cache_that_cannot_be_written_is_read(tmp_path, monkeypatch, number):
  store, _ = made.build(tmp_path)

  def forbidden(folder, say):
    raise OSError(number, os.strerror(number), f'{tmp_path}/.locks/x.lock')

  monkeypatch.setattr(folders, 'locked', forbidden)
  again, computed = made.build(tmp_path)
  assert whole(again) and not computed
  lose(store.folder / 'tap_00/c/2/0/0')
  with pytest.raises(cache.CacheError, match=r'cannot be written.*\$LST_CACHE'):
    made.build(tmp_path)
  # What is not of the cache is another matter.
  monkeypatch.setattr(
      folders, 'locked', lambda *_: (tmp_path / 'a.jpg').read_bytes())
  with pytest.raises(FileNotFoundError):
    made.build(tmp_path)


def test_a_damaged_index_is_found(tmp_path):
  store, _ = made.build(tmp_path)
  flip(store.folder / 'tap_01/c/3/0/0', -20)
  with pytest.raises(cache.CacheError, match='shard 3 of tap_01'):
    store.read(np.array([25]))


@pytest.mark.parametrize('harm', [flip, cut, lose])
@pytest.mark.parametrize('name', ['tap_00/zarr.json', 'codebook.safetensors'])
def test_small_files_are_made_again_without_a_row(tmp_path, harm, name):
  store, _ = made.build(tmp_path, 'int8')
  before = store.codebook.scales[0]
  harm(store.folder / name)
  said = []
  store, computed = made.build(tmp_path, 'int8', say=said.append)
  assert not computed
  assert np.array_equal(store.codebook.scales[0], before)
  if 'codebook' in name:
    assert 'codebook.safetensors is missing or damaged' in said[0]
  else:
    assert 'zarr_format' in json.loads((store.folder / name).read_text())


@pytest.mark.parametrize('harm', [flip, cut])
def test_without_its_description_a_cache_is_made_anew(tmp_path, harm):
  store, _ = made.build(tmp_path)
  harm(store.folder / layout.ABOUT)
  with pytest.raises(cache.CacheError, match=r'about\.json is damaged'):
    cache.Disk(store.folder)
  store, computed = made.build(tmp_path)
  assert len(computed) == made.ROWS and whole(store)


def test_rows_of_another_codebook_are_not_kept(tmp_path):
  store, _ = made.build(tmp_path, 'int8')
  lose(store.folder / layout.CODEBOOK)
  data = made.taps()
  recipe = cache.Recipe(
      data, made.ROWS, made.Producer(data),
      lambda: cache.fit('int8', [made.taps(seed=1)], made.NORM))
  store = cache.build(
      tmp_path, made.key('int8'), recipe, say=lambda text: None)
  assert len(recipe.produce.rows) == made.ROWS
  back = cache.expand(store.read(np.arange(3)), store.codebook).taps[0]
  assert np.abs(back - data[0][:3]).max() < np.abs(data[0]).max() / 2


def test_a_key_that_leaves_something_out_is_told(tmp_path):
  made.build(tmp_path)
  data = made.taps()[:2]
  recipe = cache.Recipe(
      data, made.ROWS, made.Producer(data), lambda: cache.fit('exact', []))
  with pytest.raises(cache.CacheError, match='the key leaves something out'):
    cache.build(tmp_path, made.key(), recipe)


def test_a_full_disk_is_told(tmp_path, monkeypatch):
  class Full:
    def result(self):
      raise ValueError('RESOURCE_EXHAUSTED: No space left on device')

  writer = object.__new__(shards.Writer)
  writer._folder, writer._pending = tmp_path, [Full()]
  with pytest.raises(cache.CacheError, match=r'No space left.*cache\.path'):
    writer.wait()
