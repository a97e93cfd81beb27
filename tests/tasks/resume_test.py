"""Mixed tasks that are killed go on to the same bits."""

import json
import signal

import numpy as np
import pytest
import safetensors.numpy

from lst import config as config_lib
from tests import runs

# The first task takes 12 steps, the other 6: a second stage follows these.
STEPS = {'digits': 12, 'few': 6}
SLEEPS, WRITE = 8, 10


def config(weights):
  out = runs.config(weights, epochs=3.2)
  out.data = config_lib.data()
  out.cache.mode = 'off'
  out.side.skip = 1
  out.tasks.digits, out.tasks.few = config_lib.data(), config_lib.data()
  out.tasks.digits.update(
      dict(train='train[:60]', val='train[60:100]', test='test[:50]'))
  out.tasks.few.update(dict(
      name='procedural', task='shape', train='train[:30]', test='test[:20]'))
  return out


@pytest.fixture(scope='module')
def both(tmp_path_factory, weights):
  """Folders of the same run, never killed and killed twice; what it said."""
  folder = tmp_path_factory.mktemp('tasks_resume')
  file = runs.config_file(folder / 'config.py', weights, __name__)
  whole, killed, cache = (folder / x for x in ('whole', 'killed', 'cache'))
  # In a Python of its own, whose hashes are its own too.
  status, _, err = runs.finish(runs.start_python(
      f'--config={file}', f'--workdir={whole}', cache=cache))
  assert status == 0, err
  command = f'--config={file}', f'--workdir={killed}'
  reached = folder / 'reached'
  process = runs.start(
      *command, stop=f'step:{SLEEPS}', reached=reached, cache=cache)
  runs.wait_for(reached, process)
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  left = {p.name for p in (killed / 'checkpoints').iterdir()}
  # Torn in the middle of a line, as well.
  with (killed / 'digits' / 'metrics.jsonl').open('a') as lines:
    lines.write('{"step": 9, "epo')
  status, _, err = runs.finish(
      runs.start(*command, stop=f'write:{WRITE}', cache=cache))
  assert status == -signal.SIGKILL, err
  status, out, err = runs.finish(runs.start(*command, cache=cache))
  assert status == 0, err
  assert left and str(SLEEPS) not in left
  assert 'going on from' in out
  return whole, killed


@pytest.mark.parametrize('task', STEPS)
def test_killed_tasks_end_in_the_same_bits(both, task):
  a, b = (
      safetensors.numpy.load_file(folder / task / 'side.safetensors')
      for folder in both)
  assert a.keys() == b.keys() and a
  for name, x in a.items():
    assert np.any(x), name
    np.testing.assert_array_equal(
        x.view(np.uint32), b[name].view(np.uint32), name)


@pytest.mark.parametrize('task', STEPS)
def test_killed_tasks_leave_the_same_metrics_byte_for_byte(both, task):
  whole, killed = (
      (folder / task / 'metrics.jsonl').read_text() for folder in both)
  assert killed == whole
  assert json.loads(whole.splitlines()[-1])['step'] == STEPS[task]


def test_killed_tasks_leave_the_same_result(both):
  whole, killed = (
      json.loads((folder / 'result.json').read_text())['tasks']
      for folder in both)
  assert killed == whole
  assert {name: row['steps'] for name, row in whole.items()} == STEPS
