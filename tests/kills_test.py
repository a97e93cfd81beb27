"""Random kills lose nothing: not a step, not an example, not a bit."""

import collections
import os
import re
import signal
import time
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy

from lst import hosts
from tests import kills, runs

# Each attempt is a start of JAX in every process: the long form is
# `KILLS=10 pytest -n 0 tests/kills_test.py`; at most one kill for a step.
KILLS = min(int(os.environ.get('KILLS', '3')), kills.LEAVES - 2)
# Any number of processes; always two, a third as often.
MANY = kills.plan(27, KILLS, (1, 2, 4))
TWO = kills.plan(7, max(KILLS // 3, 1), (2,))


class Done(NamedTuple):
  """A job that has reached its end.

  Attributes:
    job: of all attempts.
    ended: of each kill, what became of its processes, and in what time.
    left: (status, what it said) of each process that was told to leave.
    began: the first step after that, or 0.
  """

  job: kills.Job
  ended: list
  left: list
  began: int


@pytest.fixture(scope='module')
def compiled(tmp_path_factory):
  return tmp_path_factory.mktemp('compiled')


@pytest.fixture(scope='module')
def whole(tmp_path_factory, weights, compiled):
  """Two processes that nobody disturbs, without a cache of features."""
  job = kills.Job(
      tmp_path_factory.mktemp('whole') / 'job', weights, 'off', compiled)
  finished(job, 2)
  return job


def finished(job, count: int) -> None:
  ended = job.start(count).ended(kills.LONG)
  assert [status for status, _ in ended] == [0] * count, ended


def disturbed(folder, weights, mode, compiled, plan):
  """A job, killed as planned, and what became of each attempt."""
  job = kills.Job(folder / 'job', weights, mode, compiled)
  return job, [job.killed(kill) for kill in plan]


@pytest.fixture(scope='module')
def many(tmp_path_factory, weights, compiled):
  """Killed, each time begun anew with one, two or four processes, then told to
  leave; a host alone ends it.
  """
  job, ended = disturbed(
      tmp_path_factory.mktemp('many'), weights, 'off', compiled, MANY)
  left = job.told(2, kills.LEAVES)
  status, err = job.by_script()
  assert status == 0, err
  return Done(job, ended, left, job.began())


@pytest.fixture(scope='module')
def two(tmp_path_factory, weights, compiled):
  """Killed, with two processes each time, on kept features."""
  job, ended = disturbed(
      tmp_path_factory.mktemp('two'), weights, 'disk', compiled, TWO)
  finished(job, 2)
  return Done(job, ended, [], 0)


def test_the_kills_are_of_all_kinds():
  plan = kills.plan(27, 10, (1, 2, 4))
  assert {kill.count for kill in plan} == {1, 2, 4}
  assert {kill.victim for kill in plan} >= {None, 0, 1}
  assert [kill.step for kill in plan].count(0) == 2
  assert any(kill.victim is not None and kill.count == 4 for kill in plan)
  assert any(k.victim is not None and k.count > 1 for k in (*MANY, *TWO))
  assert any(k.victim is None or k.count == 1 for k in (*MANY, *TWO))
  short = kills.plan(27, 3, (1, 2, 4))
  assert {kill.count for kill in short} == {1, 2, 4}
  assert any(kill.victim is not None and kill.count == 4 for kill in short)


@pytest.fixture(params=['many', 'two'])
def done(request):
  return request.getfixturevalue(request.param)


def test_every_step_is_there_once(done, whole):
  for prefix, steps in (
      ('train', range(1, kills.STEPS + 1)),
      ('val', (kills.STEPS // 2, kills.STEPS))):
    ours, theirs = (
        [line for line in runs.lines(job.workdir) if f'{prefix}_loss' in line]
        for job in (done.job, whole))
    for lines in (ours, theirs):
      assert [line['step'] for line in lines] == list(steps)
    for name in (f'{prefix}_loss', f'{prefix}_accuracy'):
      np.testing.assert_allclose(
          [line[name] for line in ours], [line[name] for line in theirs],
          rtol=1e-3, err_msg=name)


def epochs(seen: dict[int, list[int]]) -> list[collections.Counter]:
  """How often each example was seen in each epoch."""
  assert sorted(seen) == list(range(1, kills.STEPS + 1))
  stream = [row for step in sorted(seen) for row in seen[step]]
  assert len(stream) == kills.EPOCHS * kills.EXAMPLES
  return [collections.Counter(stream[k:k + kills.EXAMPLES])
          for k in range(0, len(stream), kills.EXAMPLES)]


def test_every_example_is_seen_once_in_every_epoch(done, whole):
  seen = done.job.seen()
  for counts in epochs(seen):
    assert counts == dict.fromkeys(range(kills.EXAMPLES), 1)
  assert seen == whole.seen()


def trained(job) -> dict[str, np.ndarray]:
  return safetensors.numpy.load_file(job.workdir / 'side.safetensors')


def test_in_as_many_processes_the_parameters_end_in_the_same_bits(two, whole):
  ours, theirs = trained(two.job), trained(whole)
  assert ours.keys() == theirs.keys() and ours
  for name, x in ours.items():
    np.testing.assert_array_equal(
        x.view(np.uint32), theirs[name].view(np.uint32), name)


def test_in_any_number_of_processes_they_end_the_same_to_rounding(many, whole):
  ours, theirs = trained(many.job), trained(whole)
  assert ours.keys() == theirs.keys() and ours
  for name, x in ours.items():
    assert np.any(x), name
    np.testing.assert_allclose(
        x, theirs[name], rtol=1e-2, atol=1e-3, err_msg=name)


def test_the_others_stop_in_time_and_say_who_is_gone(many, two):
  alone = 0
  for plan, done in ((MANY, many), (TWO, two)):
    for kill, (ended, seconds) in zip(plan, done.ended, strict=True):
      for k, (status, said) in enumerate(ended):
        if kill.victim in (None, k):
          assert status == -signal.SIGKILL
          continue
        alone += 1
        assert status == hosts.RESTART, said
        assert f'HostsError: process {kill.victim} of {kill.count} is' in said
        assert 'the same command goes on from the last checkpoint' in said
      assert seconds < kills.LOST + 10
  assert alone > 0


def test_told_to_leave_all_processes_save_the_same_step(many):
  """The one after it goes on from there: nothing is done twice."""
  saved = set()
  for status, said in many.left:
    assert status == hosts.RESTART, said
    assert 'Traceback' not in said
    saved |= set(re.findall(r'Preempted: SIGTERM at step (\d+)', said))
  assert len(many.left) == 2 and len(saved) == 1
  assert 0 < int(saved.pop()) == many.began - 1


def test_a_process_that_hangs_is_missed_in_time(
    tmp_path, weights, compiled, whole):
  """Nothing fails then, all wait: only its silence tells."""
  del whole  # For what it compiled.
  job = kills.Job(tmp_path / 'job', weights, 'off', compiled)
  started = job.start(2)
  other, hangs = started.processes
  while job.step() < 5:
    assert other.exitcode is None, started.ended(0)
    time.sleep(kills.PACE)
  os.kill(hangs.pid, signal.SIGSTOP)
  began = time.monotonic()
  other.join(kills.LONG)
  seconds = time.monotonic() - began
  started.kill(1)
  (status, said), _ = started.ended(kills.LONG)
  assert status == hosts.RESTART, said
  assert 'HostsError: process 1 of 2 is silent since' in said
  assert seconds < kills.LOST + 10
