"""A suite that is told to leave: whoever hears it, nothing is lost."""

import json
import os
import re
import signal
import time

import numpy as np
import psutil
import pytest
import safetensors.numpy

from lst import hosts
from lst.vtab import process, protocol, suites
from tests import commands, compiling, runs
from tests.vtab import made, run_test

# Who gets SIGTERM, one attempt after the other; of a group, both at once.
TOLD = ('parent', 'child', 'group')
STEPS = 40


def config(weights: str):
  """One run, whose images take a while to decode, saved at its end alone."""
  out = run_test.config(weights, seed=(0,))
  out.train.batch_size, out.train.epochs, out.train.log_steps = 25, 1.0, 1
  out.cache.mode, out.data.cache_bytes = 'off', 0
  return out


def step(run) -> int:
  """The last step that is written down."""
  path = run / 'metrics.jsonl'
  lines = path.read_text().splitlines() if path.exists() else []
  # The last line may be in writing.
  return json.loads(lines[-2])['step'] if len(lines) > 1 else 0


def told(command: commands.Command, who: str, run, since: int):
  """Tells `who` to leave, some steps after `since`; how the command ended."""
  deadline = time.monotonic() + runs.TIMEOUT
  while step(run) < since + 3:
    assert command.poll() is None, command.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.02)
  parent = psutil.Process(command.pid)
  [child] = [x for x in parent.children() if 'spawn_main' in str(x.cmdline())]
  for pid in {'parent': [parent.pid], 'child': [child.pid],
              'group': [child.pid, parent.pid]}[who]:
    os.kill(pid, signal.SIGTERM)
  return command.ended(runs.TIMEOUT)


@pytest.fixture(scope='module')
def left(weights, tmp_path_factory):
  """(folder, how each attempt ended, the last among them)."""
  folder = tmp_path_factory.mktemp('left')
  made.folder(folder / 'ready' / 'one', classes=4, test=24, size=320)
  (folder / 'config.py').write_text(f'''"""Made by a test."""
from multiprocessing import util
import jax
util.Finalize(
    None, lambda: print('parent on', jax.config.jax_platforms), exitpriority=1)
def get_config():
  from tests.vtab import process_test
  return process_test.config({weights!r})
''')
  command = (
      'lst.vtab', 'run', '--suite=folder', f'--path={folder / "ready"}',
      f'--config={folder}/config.py', f'--workdir={folder}/runs')
  environment = {
      **compiling.ENVIRONMENT, 'PYTHONPATH': str(runs.ROOT),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
  run, ended = folder / 'runs' / 'one' / 'seed0', []
  for who in TOLD:
    since = step(run)
    ended.append(told(
        commands.Command(*command, env=environment, cwd=runs.ROOT), who, run,
        since))
  ended.append(commands.Command(
      *command, env=environment, cwd=runs.ROOT).ended(runs.TIMEOUT))
  return folder, ended


def test_told_to_leave_the_run_is_saved_and_all_ends_with_75(left):
  saved = []
  for who, done in zip(TOLD, left[1], strict=False):
    assert done.returncode == hosts.RESTART, (who, done.stderr)
    assert 'Traceback' not in done.stderr and 'failed' not in done.stderr
    [at] = re.findall(
        r'Preempted: SIGTERM at step (\d+), which is saved', done.stderr)
    saved.append(int(at))
  assert 0 < saved[0] < saved[1] < saved[2] < STEPS
  log = (left[0] / 'runs' / 'one' / 'seed0' / 'log.txt').read_text()
  assert [int(x) for x in re.findall(r'going on from (\d+)', log)] == saved


def test_the_same_command_ends_as_one_that_nobody_disturbed(left, weights):
  folder, ended = left
  assert ended[-1].returncode == 0, ended[-1].stderr
  [task] = suites.select('folder', str(folder / 'ready'), ())
  process.here(
      'train', protocol.tested(config(weights), task, {}, 0),
      str(folder / 'whole'))
  ours, theirs = folder / 'runs' / 'one' / 'seed0', folder / 'whole'
  for x, y in zip(runs.lines(ours), runs.lines(theirs), strict=True):
    assert x['step'] == y['step']
    for name in x:
      np.testing.assert_allclose(x[name], y[name], rtol=1e-3, err_msg=name)
  ours, theirs = (
      safetensors.numpy.load_file(x / 'side.safetensors')
      for x in (ours, theirs))
  assert ours.keys() == theirs.keys() and ours
  for name, x in ours.items():
    np.testing.assert_allclose(
        x, theirs[name], rtol=1e-2, atol=1e-4, err_msg=name)


def test_the_devices_are_left_to_the_runs(left):
  assert all('parent on cpu' in done.stdout for done in left[1])
