"""Tiny runs: their config, and the process of one, stopped where asked."""

import json
import os
import pathlib
import subprocess
import sys
import time

import lst
from tests import commands, compiling, tiny

ROOT = pathlib.Path(lst.__file__).parents[1]
# Seconds that a process may take at most; on a busy machine it takes long.
TIMEOUT = 600

# Put ahead of a config file, these lines make the process stop where the
# environment says: asleep ahead of a step ('step:7'), until it is killed from
# outside, or killed by itself the moment before a checkpoint gets its final
# name ('write:10'); or it sends itself a signal ahead of a step ('15:7').
STOPS = """
import os, pathlib, signal, sys, time
kind, _, at = os.environ.get('STOP', '').partition(':')
if kind == 'step':
  from lst import window
  push = window.Window.push
  def wait(self, now, sums, ends):
    if now == int(at):
      pathlib.Path(os.environ['REACHED']).touch()
      time.sleep(600)
    push(self, now, sums, ends)
  window.Window.push = wait
if kind.isdigit():
  from lst import window
  push = window.Window.push
  def signalled(self, now, sums, ends):
    if now == int(at):
      os.kill(os.getpid(), int(kind))
    push(self, now, sums, ends)
  window.Window.push = signalled
if kind == 'write':
  def kill(event, args):
    if event == 'os.rename' and f'checkpoints/{at}.orbax' in str(args[0]):
      os.kill(os.getpid(), signal.SIGKILL)
  sys.addaudithook(kill)
"""


def config(weights: str, val: str = 'train[60:100]', **train):
  """60 images in batches of 16, 24 steps, a checkpoint at every 5 and epoch."""
  out = tiny.config(weights)
  out.data.train, out.data.val, out.data.test = 'train[:60]', val, 'test[:50]'
  out.train.update(dict(
      batch_size=16, eval_batch_size=32, epochs=6.4, checkpoint_steps=5,
      log_steps=3) | train)
  return out


def config_file(
    path: pathlib.Path, weights: str, module: str = 'tests.runs'
) -> pathlib.Path:
  """A file of a module's `config(weights)` that stops where STOP says."""
  path.write_text(f'''"""Made by a test."""
{STOPS}
def get_config():
  from {module} import config
  return config({weights!r})
''')
  return path


def start(
    *arguments, stop='', reached='', cache='', quick=True
) -> commands.Command:
  """`python -m lst.main` with these arguments, in a forked process.

  Processes of one `cache` folder share what they compile.
  """
  return commands.Command(
      'lst.main', *arguments, cwd=ROOT, compiled=cache, quick=quick,
      env={'STOP': stop, 'REACHED': str(reached)})


def start_python(
    *arguments, cache='', quick=True, cwd=ROOT, module='lst.main'
) -> subprocess.Popen:
  """The same in a Python of its own, as users start it."""
  return subprocess.Popen(
      [sys.executable, '-m', module, *map(str, arguments)], cwd=cwd,
      env={**os.environ, 'PYTHONPATH': str(ROOT), 'STOP': '',
           **(compiling.ENVIRONMENT if quick else {}), **({
               'JAX_COMPILATION_CACHE_DIR': str(cache),
               'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
               if cache else {})}, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(
    process: subprocess.Popen | commands.Command
) -> tuple[int, str, str]:
  """(exit status, output, errors) of a process that ends by itself."""
  out, err = process.communicate(timeout=TIMEOUT)
  return process.returncode, out, err


def wait_for(
    path: pathlib.Path, process: subprocess.Popen | commands.Command
) -> None:
  """Waits for a file that `process` is to make."""
  deadline = time.monotonic() + TIMEOUT
  while not path.exists():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline, f'no {path}'
    time.sleep(0.05)


def lines(folder: pathlib.Path) -> list[dict]:
  """The lines of metrics.jsonl."""
  text = (folder / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]
