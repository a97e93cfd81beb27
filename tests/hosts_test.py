"""A job of several processes gives what one process gives, whatever becomes of
them.
"""

import json
import signal
import time
from typing import NamedTuple

import numpy as np
import pytest
import safetensors

from lst import hosts, screen, sweep, tasks, train, window
from tests import group, runs

MEASURED = {'seconds', 'images_per_second', 'speed', 'peak_memory_bytes',
            'flops_step', 'flops_step_over_forward', 'config', 'devices'}
STEPS = 12
# Seconds for the processes of a job, which may share a core.
LONG = 600


class Chain(NamedTuple):
  """A run on other processes each time that it goes on.

  Attributes:
    folder: of a run that began with two processes of which one was told to
      leave, went on with four of which one was killed, and ended with one.
    ended: of the processes of each part, (status, errors).
    seconds: from the kill until the last of the others had stopped.
  """

  folder: object
  ended: list
  seconds: float


def ended(processes) -> list[tuple[int, str]]:
  """(status, errors) of each, in order."""
  try:
    told = [process.communicate(timeout=LONG) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [(p.returncode, err) for p, (_, err) in zip(
      processes, told, strict=True)]


@pytest.fixture(scope='module')
def one(tmp_path_factory, weights):
  """Folder of the run of one process without a cache."""
  folder = tmp_path_factory.mktemp('one')
  group.run(weights, 'off', folder, folder)
  return folder / 'off'


@pytest.fixture(scope='module')
def four(tmp_path_factory, weights):
  """Folder of the runs of four processes, by kind of cache."""
  folder = tmp_path_factory.mktemp('four')
  done = ended(group.start(
      4, 'tests.group', weights, folder, folder / 'cache', 'disk', 'ram'))
  assert [status for status, _ in done] == [0] * 4, done
  return folder


@pytest.fixture(scope='module')
def chain(tmp_path_factory, weights):
  folder = tmp_path_factory.mktemp('chain')
  config = group.config_file(folder / 'config.py', weights)
  command = f'--config={config}', f'--workdir={folder / "run"}'
  parts = [ended(group.start(2, 'lst.main', *command, last={
      'STOP': f'{signal.SIGTERM:d}:6'}))]
  left = group.start(
      4, 'lst.main', *command, last={'STOP': f'{signal.SIGKILL:d}:10'})
  left[-1].wait(LONG)
  killed = time.monotonic()
  parts.append(ended(left))
  seconds = time.monotonic() - killed
  parts.append(ended([group.script(*command)]))
  return Chain(folder / 'run', parts, seconds)


def same(one, other, steps=range(1, STEPS + 1)):
  """The metrics of two runs agree, step by step."""
  def by_step(folder, prefix):
    return {line['step']: line for line in runs.lines(folder)
            if f'{prefix}_loss' in line}

  for prefix in ('train', 'val'):
    ours, theirs = by_step(one, prefix), by_step(other, prefix)
    assert ours.keys() == theirs.keys()
    for step in ours:
      for name in (f'{prefix}_loss', f'{prefix}_accuracy'):
        np.testing.assert_allclose(
            theirs[step][name], ours[step][name], rtol=2e-5, err_msg=step)
  assert set(steps) <= by_step(one, 'train').keys()


@pytest.mark.parametrize('kind', ['disk', 'ram'])
def test_four_processes_with_a_cache_give_what_one_without_does(
    one, four, kind):
  same(one, four / kind)
  ours, theirs = (
      json.loads((folder / 'result.json').read_text())
      for folder in (one, four / kind))
  for name in ours.keys() - MEASURED:
    if name == 'test_loss':
      np.testing.assert_allclose(theirs[name], ours[name], rtol=2e-5)
    else:
      assert theirs[name] == ours[name], name
  assert theirs['devices'] == group.DEVICES and theirs['test_examples'] == 50


PARTS = {'sweep': sweep, 'tasks': tasks}


@pytest.fixture(scope='module')
def two(tmp_path_factory, weights):
  """Folder of the runs of two processes: a split backbone, a sweep, tasks."""
  folder = tmp_path_factory.mktemp('two')
  done = ended(group.start(
      2, 'tests.group', weights, folder, folder / 'cache', 'fsdp', *PARTS))
  assert [status for status, _ in done] == [0] * 2, done
  return folder


def test_two_processes_with_a_split_backbone_give_what_one_without_does(
    one, two):
  same(one, two / 'fsdp')
  ours, theirs = (
      json.loads((folder / 'result.json').read_text())
      for folder in (one, two / 'fsdp'))
  for name in ('test_accuracy', 'val_accuracy', 'tested_step'):
    assert theirs[name] == ours[name]
  # Each process has all parts: they can be told from other weights.
  assert len({about(folder)['weights'] for folder in (one, two / 'fsdp')}) == 1


def about(folder) -> dict:
  with safetensors.safe_open(folder / 'side.safetensors', 'np') as file:
    return json.loads(file.metadata()['about'])


@pytest.mark.parametrize('name', PARTS)
def test_sweeps_and_tasks_in_two_processes_give_what_one_told_to_leave_gives(
    name, tmp_path, weights, monkeypatch, two):
  def step(self, now, before=screen.Screen.step):
    if now == 7:
      signal.raise_signal(signal.SIGTERM)
    before(self, now)

  monkeypatch.setattr(screen.Screen, 'step', step)
  config = group.config(weights, name, tmp_path / 'cache')
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(hosts.Preempted, match='step 7, which is saved'):
    PARTS[name].run(config, tmp_path / name)
  assert signal.getsignal(signal.SIGTERM) is before
  monkeypatch.undo()
  assert (tmp_path / name / 'checkpoints' / '7').is_dir()
  ours = PARTS[name].run(config, tmp_path / name)
  theirs = json.loads((two / name / 'result.json').read_text())
  assert theirs[name] == ours[name] and len(ours[name]) == 2
  for own in ('best',) if name == 'sweep' else ('a', 'b'):
    for x, y in zip(*(runs.lines(folder / name / own) for folder in (
        tmp_path, two)), strict=True):
      assert x.keys() == y.keys()
      for key in x:
        np.testing.assert_allclose(y[key], x[key], rtol=2e-5, err_msg=key)


def test_a_job_loses_and_repeats_nothing_on_its_way_over_other_hosts(
    one, chain):
  """On two processes, then four, then one, every step sees the same batch."""
  assert [len(part) for part in chain.ended] == [2, 4, 1]
  same(one, chain.folder)
  assert [line['step'] for line in runs.lines(chain.folder)
          if 'train_loss' in line] == list(range(1, STEPS + 1))
  assert chain.ended[2][0][0] == 0, chain.ended[2]


def test_told_to_leave_all_processes_save_the_same_step(chain):
  for status, err in chain.ended[0]:
    assert status == hosts.RESTART, err
    assert 'Preempted: SIGTERM at step' in err and 'Traceback' not in err


def test_a_killed_process_stops_the_others_in_time_and_in_words(chain):
  *others, (status, _) = chain.ended[1]
  assert status == -signal.SIGKILL
  assert chain.seconds < group.LOST + 10
  for status, err in others:
    assert status == hosts.RESTART, err
    assert 'HostsError: process 3 of 4 is silent since' in err
    assert 'the same command goes on from the last checkpoint' in err


def test_told_to_leave_a_run_alone_saves_and_goes_on(
    tmp_path, weights, monkeypatch, one):
  def push(self, now, *rest, before=window.Window.push):
    if now == 7:
      signal.raise_signal(signal.SIGTERM)
    before(self, now, *rest)

  config = group.config(weights, 'off', tmp_path)
  # Never a step, so that nothing else saves.
  config.train.checkpoint_steps, config.profile.steps = 0, (2, 3)
  monkeypatch.setattr(window.Window, 'push', push)
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(hosts.Preempted, match=r'step [78], which is saved'):
    train.run(config, tmp_path)
  assert signal.getsignal(signal.SIGTERM) is before
  monkeypatch.undo()
  config.profile.steps, config.data.workers = (), 1
  train.run(config, tmp_path)
  same(one, tmp_path)
  assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


@pytest.mark.parametrize(('env', 'flags', 'want'), [
    ({}, (), None),
    ({}, ('', -1, 'auto'), {}),
    ({}, ('h:1', 2, '4'), ('h:1', 4, 2)),
    ({'JAX_COORDINATOR_ADDRESS': 'h', 'JAX_PROCESS_ID': '1',
      'JAX_NUM_PROCESSES': '2'}, (), ('h:8476', 2, 1)),
    ({'JAX_COORDINATOR_ADDRESS': 'h', 'JAX_PROCESS_ID': '0',
      'JAX_NUM_PROCESSES': '1'}, (), None),
    ({'SLURM_PROCID': '0', 'SLURM_NTASKS': '1'}, (), None),
    ({'SLURM_PROCID': '0', 'SLURM_NTASKS': '8',
      'SLURM_STEP_NUM_TASKS': '4'}, (), {}),
    ({'TPU_WORKER_ID': '0', 'TPU_WORKER_HOSTNAMES': 'localhost'}, (), None),
    ({'TPU_WORKER_ID': '0', 'TPU_WORKER_HOSTNAMES': 'a,b'}, (), {}),
    ({'TPU_WORKER_ID': '0', 'MEGASCALE_NUM_SLICES': '2'}, (), {}),
    ({'SKYPILOT_NUM_NODES': '2', 'SKYPILOT_NODE_RANK': '1',
      'SKYPILOT_NODE_IPS': '10.0.0.1\n10.0.0.2'}, (), ('10.0.0.1:8476', 2, 1)),
])
def test_processes_find_each_other_by_flags_or_environment(env, flags, want):
  if isinstance(want, tuple):
    want = dict(zip(('coordinator_address', 'num_processes', 'process_id'),
                    want, strict=True))
  assert hosts.asked(env, *flags) == want


@pytest.mark.parametrize('flags', [
    ('', 0, '2'), ('h:1', 2, '2'), ('h:1', -1, '2'), ('h:1', 0, 'two'),
    ('h:1', -1, '')])
def test_half_a_job_is_refused(flags):
  with pytest.raises(hosts.HostsError, match='process from 0 to N - 1'):
    hosts.asked({}, *flags)


def test_one_process_agrees_with_itself():
  assert hosts.first() and hosts.agreed(lambda: {'a': 1}, OSError) == {'a': 1}
  with pytest.raises(OSError, match='full'):
    hosts.agreed(lambda: (_ for _ in ()).throw(OSError('full')), OSError)
