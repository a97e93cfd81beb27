"""Whoever falls silent is missed, by name and in time."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from lst import vigil
from tests import runs

SECONDS = 20.0


class Store(dict):
  """Of all processes of a job, while process 0 is there."""

  there = True

  def key_value_set(self, key, value, allow_overwrite=False):
    if not self.there:
      raise RuntimeError('UNAVAILABLE')
    assert allow_overwrite
    self[key] = value

  def key_value_dir_get(self, key):
    if not self.there:
      raise RuntimeError('UNAVAILABLE')
    return [(k, v) for k, v in self.items() if k.startswith(key)]


class Group:
  """Three processes whose time is in the test's hands."""

  def __init__(self, count=3):
    self.now, self.store, self.left = 0.0, Store(), {}
    self.all = [vigil.Vigil(
        self.store, k, count, SECONDS,
        lambda words, k=k: self.left.setdefault(k, words),
        clock=lambda: self.now) for k in range(count)]

  def go(self, seconds, *silent):
    for _ in range(int(seconds / self.all[0].every)):
      self.now += self.all[0].every
      for one in self.all:
        if one not in [self.all[k] for k in silent]:
          one.tell()
          one.look()


@pytest.fixture
def three(monkeypatch):
  monkeypatch.setattr(vigil.time, 'sleep', lambda _: None)
  return Group()


def test_those_who_tell_are_not_missed(three):
  three.go(10 * SECONDS)
  assert not three.left
  assert three.all[0].every == vigil.SLOWEST == 2.0


@pytest.mark.parametrize('silent', [1, 2])
def test_one_that_is_silent_is_missed_by_all_others_in_time(three, silent):
  three.go(30)
  three.go(SECONDS - 4, silent)
  assert not three.left
  three.go(8, silent)
  assert three.left.keys() == {0, 1, 2} - {silent}
  for words in three.left.values():
    assert words.startswith(f'process {silent} of 3 is silent since ')
    assert '(2' in words and words.endswith(' s)')


def test_who_has_not_noticed_is_told(three):
  three.go(30)
  # Of another process, which leaves now.
  three.store.key_value_set('lst/lost/2', 'process 1 of 3 is silent', True)
  three.go(2, 1, 2)
  assert three.left == {0: 'process 1 of 3 is silent'}


def test_with_the_store_process_0_is_lost_and_no_other_is_blamed(three):
  three.go(30)
  three.store.there = False
  three.go(SECONDS + 4, 0)
  assert three.left.keys() == {1, 2}
  for words in three.left.values():
    assert words.startswith('process 0 of 3') and words.count('process') == 1


def test_at_rest_it_tells_but_does_not_look():
  left = []
  one = vigil.Vigil(Store(), 0, 2, 0.1, left.append)
  one.start()
  time.sleep(0.2)
  assert left and all('process 1 of 2' in words for words in left)
  resting = vigil.Vigil(one._store, 1, 2, 0.1, left.append)
  one.close()
  del left[:]
  resting.rest()
  resting.start()
  time.sleep(0.2)
  assert not left and int(one._store['lst/alive/1']) > 5
  resting.close()


def test_after_a_failure_it_names_who_does_not_tell_any_more():
  store, left = Store(), []
  zero, one, two = (
      vigil.Vigil(store, k, 3, 2.0, left.append) for k in range(3))
  for each in (zero, one, two):
    each.start()
  time.sleep(0.5)
  assert zero.after_failure() == ''
  two.close()
  began = time.monotonic()
  assert zero.after_failure().startswith('process 2 of 3 is silent since')
  assert time.monotonic() - began < 5.0
  # The other is told so.
  time.sleep(0.6)
  assert left and 'process 2 of 3' in left[0]
  zero.close()
  one.close()


def test_an_abort_is_explained_by_who_has_fallen_silent(three):
  three.go(30)
  three.all[0].aborted()
  assert not three.left
  # JAX misses it ahead of our own time.
  three.go(12, 2)
  assert not three.left
  three.all[0].aborted()
  assert three.left.keys() == {0}
  assert three.left[0].startswith('process 2 of 3 is silent since')


def test_an_abort_is_explained_when_process_0_is_gone():
  left = []
  with contextlib.closing(socket.socket()) as server:
    server.bind(('127.0.0.1', 0))
    server.listen()
    one = vigil.Vigil(
        Store(), 1, 2, 60.0, left.append, server.getsockname())
    one.aborted()
    assert not left
  one.aborted()
  assert left[0].startswith('process 0 of 2 is gone since')
  assert 'nothing listens at 127.0.0.1:' in left[0]
  one.rest()
  one.aborted()
  assert len(left) == 1


ABORTS = """
import os, sys
from lst import vigil
vigil._on_abort(lambda: {say})
os.abort()
"""


@pytest.mark.parametrize(('say', 'status', 'said'), [
    ("vigil.end('gone', 75)", 75, 'gone'), ('None', -signal.SIGABRT, '')])
def test_words_come_ahead_of_an_abort(say, status, said):
  done = subprocess.run(
      [sys.executable, '-c', ABORTS.format(say=say)], capture_output=True,
      text=True, check=False, cwd=runs.ROOT,
      env={**os.environ, 'PYTHONPATH': str(runs.ROOT)})
  assert done.returncode == status, done.stderr
  assert done.stderr.strip() == said
