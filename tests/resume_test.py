"""A run that is killed goes on to the same bits; one process at a time."""

import functools
import json
import random
import signal
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy

from tests import runs

# The bits are those of programs as users have them.
start = functools.partial(runs.start, quick=False)
STEPS = 24
# The third process is killed as it completes the checkpoint of this step.
WRITE = 20
KILLS = sorted(random.Random(2).sample(range(1, WRITE), 3))
TORN = '{"step": 3, "epo'


class Runs(NamedTuple):
  """The same command: never killed, and killed four times."""

  whole: object
  killed: object
  second: tuple[int, str, str]  # status and outputs beside a living process
  checkpoints: list[list[str]]  # what each kill left
  last: tuple[int, str, str]  # of the process that finished


@pytest.fixture(scope='module')
def both(tmp_path_factory, weights):
  folder = tmp_path_factory.mktemp('resume')
  config = runs.config_file(folder / 'config.py', weights)
  whole, killed = folder / 'whole', folder / 'killed'
  # In a Python of its own, whose hashes are its own too, as is the last.
  uninterrupted = runs.start_python(
      f'--config={config}', f'--workdir={whole}', quick=False)
  command = f'--config={config}', f'--workdir={killed}'
  second, left, cache = None, [], folder / 'cache'
  for step in KILLS:
    reached = folder / f'reached_{step}'
    process = start(
        *command, stop=f'step:{step}', reached=reached, cache=cache)
    runs.wait_for(reached, process)
    if second is None:
      second = runs.finish(start(*command))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    left.append(sorted(p.name for p in (killed / 'checkpoints').iterdir()))
    with (killed / 'metrics.jsonl').open('a') as file:
      file.write(TORN)
  status, _, err = runs.finish(
      start(*command, stop=f'write:{WRITE}', cache=cache))
  assert status == -signal.SIGKILL, err
  left.append(sorted(p.name for p in (killed / 'checkpoints').iterdir()))
  last = runs.finish(
      runs.start_python(*command, cache=cache, quick=False))
  assert last[0] == 0, last[2]
  status, _, err = runs.finish(uninterrupted)
  assert status == 0, err
  return Runs(whole, killed, second, left, last)


def test_killed_at_three_steps_and_in_a_write_ends_in_the_same_bits(both):
  a, b = (
      safetensors.numpy.load_file(folder / 'side.safetensors')
      for folder in (both.whole, both.killed))
  assert a.keys() == b.keys() and a
  for name, x in a.items():
    assert np.any(x), name
    np.testing.assert_array_equal(
        x.view(np.uint32), b[name].view(np.uint32), name)


def test_killed_run_leaves_the_same_metrics_byte_for_byte(both):
  whole, killed = (
      (folder / 'metrics.jsonl').read_text()
      for folder in (both.whole, both.killed))
  assert killed == whole
  assert {line['step'] for line in runs.lines(both.whole)} >= {3, 5, STEPS}


def test_killed_run_leaves_the_same_result(both):
  whole, killed = (
      json.loads((folder / 'result.json').read_text())
      for folder in (both.whole, both.killed))
  measured = {'seconds', 'images_per_second', 'peak_memory_bytes', 'speed'}
  for name in whole.keys() - measured:
    assert killed[name] == whole[name], name
  assert killed.keys() == whole.keys()
  assert whole['steps'] == STEPS


def test_the_kills_came_in_different_states_of_the_folder(both):
  assert len({tuple(names) for names in both.checkpoints}) > 2
  # The write that was cut short left a folder that is no checkpoint.
  assert any(
      name.startswith(f'{WRITE}.orbax') for name in both.checkpoints[-1])
  assert str(WRITE) not in both.checkpoints[-1]
  assert 'going on from' in both.last[1]


def test_only_the_last_and_the_best_checkpoint_are_kept(both):
  best = json.loads((both.killed / 'result.json').read_text())['tested_step']
  names = {p.name for p in (both.killed / 'checkpoints').iterdir()}
  assert names == {str(best), str(STEPS)}


def test_a_second_process_is_refused_while_the_first_lives(both):
  status, out, err = both.second
  assert status == 1
  assert 'is in use by another process' in err
  assert str(both.killed) in err
  assert 'Traceback' not in err and not out
