"""A job of several processes gives what one process gives.

What becomes of it when processes leave or die: tests/kills_test.py.
"""

import json
import signal

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
  """Folder of the run of four processes, with a cache on disk."""
  folder = tmp_path_factory.mktemp('four')
  done = ended(group.start(
      4, 'tests.group', weights, folder, folder / 'cache', 'disk'))
  assert [status for status, _ in done] == [0] * 4, done
  return folder


def same(one, other):
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
  assert set(range(1, STEPS + 1)) <= by_step(one, 'train').keys()


PARTS = {'sweep': sweep, 'tasks': tasks}


@pytest.fixture(scope='module')
def two(tmp_path_factory, weights):
  """Folder of the runs of two processes: a cache in memory, a split backbone,
  a sweep, tasks.
  """
  folder = tmp_path_factory.mktemp('two')
  done = ended(group.start(
      2, 'tests.group', weights, folder, folder / 'cache', 'ram', 'fsdp',
      *PARTS))
  assert [status for status, _ in done] == [0] * 2, done
  return folder


@pytest.mark.parametrize(('several', 'kind'), [
    ('four', 'disk'), ('two', 'ram')])
def test_processes_with_a_cache_give_what_one_without_does(
    one, request, several, kind):
  folder = request.getfixturevalue(several) / kind
  same(one, folder)
  ours, theirs = (
      json.loads((x / 'result.json').read_text()) for x in (one, folder))
  for name in ours.keys() - MEASURED:
    if name == 'test_loss':
      np.testing.assert_allclose(theirs[name], ours[name], rtol=2e-5)
    else:
      assert theirs[name] == ours[name], name
  assert theirs['devices'] == group.DEVICES and theirs['test_examples'] == 50


def test_two_processes_with_a_split_backbone_give_what_one_without_does(
    one, two):
  same(one, two / 'fsdp')
  ours, theirs = (
      json.loads((folder / 'result.json').read_text())
      for folder in (one, two / 'fsdp'))
  for name in ('test_accuracy', 'val_accuracy', 'tested_step'):
    assert theirs[name] == ours[name]
  # Each process has all parts: they can be told from other weights.
  digests = {about(folder)['sha256'] for folder in (one, two / 'fsdp')}
  assert len(digests) == 1 and None not in digests


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
