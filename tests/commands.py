"""`python -m` of this project in processes that are forked, imports done.

Starting Python and importing JAX is most of what a tiny run costs; here it is
paid once for all that a file of tests starts. Each is a real process, with
devices, flags and outputs of its own, and can be killed.
"""

import atexit
import functools
import multiprocessing
import os
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from multiprocessing import connection

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['tests.forked'])
# A status can be read once. Starting a process looks at all others, so a thread
# that waits for one of them might find it read, and take that for 255.
LOCK = threading.Lock()


class Command:
  """`python -m module arguments`, with what is used here of `Popen`.

  Args:
    module: such as `lst.main`.
    arguments: of it.
    env: what its environment has beside ours.
    cwd: the folder it runs in.
    compiled: folder of compiled programs that it shares, or ''.
    devices: that it has.
    quick: whether it compiles quickly (tests/compiling.py).
  """

  def __init__(self, module, *arguments, env=None, cwd='.', compiled='',
               devices=1, quick=True):
    folder = pathlib.Path(tempfile.mkdtemp(dir=_folder()))
    self._files = [folder / x for x in ('out', 'err')]
    self._process = CONTEXT.Process(target=_main, args=(
        module, [str(x) for x in arguments], {**os.environ, **(env or {})},
        str(cwd), [str(x) for x in self._files], str(compiled), devices, quick))
    with LOCK:
      self._process.start()

  @property
  def pid(self) -> int:
    return self._process.pid

  @property
  def returncode(self) -> int | None:
    with LOCK:
      return self._process.exitcode

  def poll(self) -> int | None:
    return self.returncode

  def kill(self) -> None:
    self._process.kill()

  def wait(self, timeout: float | None = None) -> int:
    connection.wait([self._process.sentinel], timeout)
    code = self.returncode
    if code is None:
      raise subprocess.TimeoutExpired('a command', timeout)
    return code

  def communicate(self, timeout: float | None = None) -> tuple[str, str]:
    self.wait(timeout)
    return tuple(x.read_text() if x.exists() else '' for x in self._files)

  def ended(self, timeout: float) -> subprocess.CompletedProcess:
    """Waits for it, as `subprocess.run` does."""
    try:
      out, err = self.communicate(timeout)
    finally:
      self.kill()
    return subprocess.CompletedProcess((), self.returncode, out, err)


@functools.cache
def _folder() -> str:
  """Where outputs go, as long as this process lives."""
  out = tempfile.mkdtemp()
  atexit.register(shutil.rmtree, out, ignore_errors=True)
  return out


def become(env, files) -> None:
  """Makes this forked process one of its own: environment, outputs, signals."""
  for stream, name in zip((1, 2), files, strict=True):
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, stream)
    os.close(file)
  sys.stdout, sys.stderr = (os.fdopen(
      stream, 'w', buffering=1, closefd=False) for stream in (1, 2))
  # The fork server has its own ideas.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  os.environ.update(env)


def _main(
    module, arguments, env, cwd, files, compiled, devices, quick) -> None:
  become(env, files)
  os.chdir(cwd)
  from tests import forked
  forked.prepare(devices, compiled, quick)
  sys.argv = [module, *arguments]
  runpy.run_module(module, run_name='__main__', alter_sys=True)
