"""Worker processes that wait on a pipe until it is their turn."""

import json
import os
import subprocess
import sys

from experiments.speed.cases import Case


class Failed(RuntimeError):
  """A worker that could not do what it was told; the others go on."""


class Worker:
  """One case in a process of its own; see `worker.py`.

  Attributes:
    build_s: seconds until it was ready, features of its cache included.
  """

  def __init__(self, case: Case, env: dict[str, str]):
    self._process = subprocess.Popen(
        [sys.executable, '-m', 'experiments.speed.worker',
         json.dumps(case._asdict())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **env})
    try:
      self.build_s = self._answer()['build_s']
    except Failed:
      self.close()
      raise

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.close()

  def _ask(self, order: dict) -> dict:
    try:
      self._process.stdin.write(json.dumps(order) + '\n')
      self._process.stdin.flush()
    except BrokenPipeError:
      raise Failed('the worker has ended') from None
    return self._answer()

  def _answer(self) -> dict:
    line = self._process.stdout.readline()
    if not line:
      code = self._process.wait()
      raise Failed(
          f'the worker ended with {code} and no word: most likely out of '
          'memory; use fewer --models, a smaller --batch or --turn_images')
    found = json.loads(line)
    if 'error' in found:
      raise Failed(found['error'])
    return found

  def steps(self, count: int, warm: int) -> list[float]:
    """Milliseconds of each of `count` steps, after `warm` untimed ones."""
    return self._ask({'steps': count, 'warm': warm})['ms']

  def peak_mib(self) -> float:
    """The largest memory so far."""
    return self._ask({'peak': True})['peak_mib']

  def close(self) -> None:
    """Lets the process end, and waits for it."""
    self._process.stdin.close()
    self._process.stdout.close()
    self._process.wait()
