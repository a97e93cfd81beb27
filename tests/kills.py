"""A job that is killed again and again, and what it did in the end."""

import json
import os
import pathlib
import random
import signal
import time
from typing import NamedTuple

from tests import forks, group, runs

EXAMPLES, BATCH, EPOCHS = 60, 8, 4
STEPS = EPOCHS * EXAMPLES // BATCH
# The step at which a job is told to leave, after all kills.
LEAVES = STEPS - 10
DEVICES = group.DEVICES
# Seconds of silence that a process may have, and for a job to be under way.
LOST, LONG = 8, 600
# Seconds that a step takes at least, so that a kill finds one.
PACE = 0.02


class Kill(NamedTuple):
  """One attempt and its end.

  Attributes:
    count: processes that it has.
    victim: which of them is killed, or None for all.
    step: that it has taken by then; 0 = it is killed as it starts.
    late: seconds after that.
  """

  count: int
  victim: int | None
  step: int
  late: float


def plan(seed: int, number: int, counts: tuple[int, ...]) -> list[Kill]:
  """So many kills, at steps that grow, two of them as the job starts."""
  dice = random.Random(seed)
  steps = sorted(dice.sample(range(2, LEAVES), number))
  early = dice.sample(range(number), min(2, number // 3))
  out = []
  for k, step in enumerate(steps):
    count = dice.choice(counts)
    if k in early:
      out.append(Kill(count, None, 0, dice.uniform(0.1, 3.0)))
    else:
      victim = None if dice.random() < 0.3 else dice.randrange(count)
      out.append(Kill(count, victim, step, dice.uniform(0.0, 3 * PACE)))
  return out


def config(weights: str, mode: str, cache: str):
  """Thirty steps over four epochs, a checkpoint at every fourth."""
  out = runs.config(
      weights, batch_size=BATCH, eval_batch_size=16, epochs=float(EPOCHS),
      eval_epochs=EPOCHS / 2, log_steps=1, checkpoint_steps=4)
  out.cache.mode, out.cache.path = mode, cache
  out.mesh.lost_seconds = LOST
  return out


def watched() -> None:
  """Has this process write down which rows it takes at which step."""
  from lst import inputs, window
  from lst.data import pipeline
  plain, push = pipeline.train_rows, window.Window.push
  path = pathlib.Path(os.environ['SEEN'])

  def train_rows(examples, load, *, start_step=0, **options):
    # The rows go the way of what is made of them.
    taken = plain(
        examples, lambda rows: (rows, load(rows)), start_step=start_step,
        **options)
    with path.open('a') as file:
      try:
        for step, (rows, batch) in enumerate(taken, start_step + 1):
          file.write(json.dumps([step, rows.tolist()]) + '\n')
          file.flush()
          yield batch
      finally:
        taken.close()

  def paced(self, now, sums, ends):
    time.sleep(PACE)
    push(self, now, sums, ends)

  # The names under which images and features are asked for.
  pipeline.train_rows = inputs.data.train_rows = train_rows
  window.Window.push = paced


class Job:
  """A job in `folder`, to be started as often as need be."""

  def __init__(self, folder, weights: str, mode: str, compiled):
    self.folder, self._compiled = folder, compiled
    folder.mkdir()
    self.workdir, self._attempts = folder / 'run', 0
    config = folder / 'config.py'
    self._flags = [f'--config={config}', f'--workdir={self.workdir}']
    config.write_text(f'''"""Made by a test."""
def get_config():
  from tests import kills
  kills.watched()
  return kills.config({weights!r}, {mode!r}, {str(folder / "cache")!r})
''')
    (folder / 'seen').mkdir()

  def start(self, count: int) -> forks.Job:
    """One more attempt, in so many processes."""
    self._attempts += 1
    return forks.Job(
        self._flags, count, DEVICES,
        self.folder / 'logs' / f'{self._attempts:02d}', self._compiled,
        lambda index: {'SEEN': self._seen(index)})

  def killed(self, kill: Kill) -> tuple[list[tuple[int, str]], float]:
    """One attempt up to its kill.

    Returns:
      (status, what it said) of each process, and the seconds from the kill
      until the last of them had ended.
    """
    job = self.start(kill.count)
    self._wait(job, kill.step)
    time.sleep(kill.late)
    job.kill(*[] if kill.victim is None else [kill.victim])
    began = time.monotonic()
    return job.ended(LONG), time.monotonic() - began

  def told(self, count: int, step: int) -> list[tuple[int, str]]:
    """One attempt whose last process is told to leave at that step.

    Returns:
      (status, what it said) of each process.
    """
    job = self.start(count)
    self._wait(job, step)
    os.kill(job.processes[-1].pid, signal.SIGTERM)
    return job.ended(LONG)

  def by_script(self) -> tuple[int, str]:
    """One attempt of one process by `launch/run.sh`: (status, errors)."""
    self._attempts += 1
    process = group.script(*self._flags, SEEN=self._seen(0))
    try:
      _, err = process.communicate(timeout=LONG)
    finally:
      process.kill()
    return process.returncode, err

  def _wait(self, job: forks.Job, step: int) -> None:
    """Until this attempt has begun that step."""
    deadline = time.monotonic() + LONG
    while step and self.step() < step:
      assert time.monotonic() < deadline, job.ended(0)
      assert all(p.exitcode is None for p in job.processes), job.ended(0)
      time.sleep(PACE)

  def _seen(self, index: int) -> str:
    """File of what a process of this attempt takes."""
    return str(self.folder / 'seen' / f'{self._attempts:02d}.{index}')

  def step(self) -> int:
    """The last step that this attempt has begun."""
    path = pathlib.Path(self._seen(0))
    lines = path.read_text().splitlines() if path.exists() else []
    # The last line may be in writing.
    return len(lines) and _step(lines[0]) + len(lines) - 1

  def began(self) -> int:
    """The first step that this attempt has taken."""
    return _step(pathlib.Path(self._seen(0)).read_text().splitlines()[0])

  def seen(self) -> dict[int, list[int]]:
    """Step -> the rows of its batch, of the last attempt that took it."""
    out = {}
    for attempt in range(1, self._attempts + 1):
      own = {}
      for path in sorted((self.folder / 'seen').glob(f'{attempt:02d}.*')):
        for line in path.read_text().splitlines():
          step, rows = json.loads(line)
          own.setdefault(step, []).extend(rows)
      # It went on from a checkpoint: what came after that is done anew.
      out = {k: v for k, v in out.items() if k < min(own, default=STEPS + 1)}
      out |= own
    return out


def _step(line: str) -> int:
  return json.loads(line)[0]
