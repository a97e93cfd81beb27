"""One run in a process of its own: its peak of memory is its own as well."""

import multiprocessing
import multiprocessing.connection
import os
import pathlib
import sys
import threading

from lst.config import default


class RunFailed(Exception):
  """A run did not end; the message says why."""


def run(kind: str, config, folder: str) -> None:
  """Runs `KINDS[kind](config, folder)` in a new process.

  What it prints goes to `folder`/log.txt. It ends with this process, however
  that ends.

  Raises:
    RunFailed: with the error's own words.
  """
  context = multiprocessing.get_context('spawn')
  receive, send = context.Pipe(duplex=False)
  flat = config.copy_and_resolve_references().to_dict()
  process = context.Process(
      target=_child, args=(send, kind, flat, folder), daemon=True)
  process.start()
  send.close()
  try:
    message = receive.recv()
  except EOFError:
    message = None
  process.join()
  if process.exitcode:
    raise RunFailed(
        message or f'its process ended with status {process.exitcode}; see '
        f'{folder}/log.txt')


def _train(config, folder: str) -> None:
  from lst import train
  train.run(config, folder)


def _sweep(config, folder: str) -> None:
  from lst import sweep
  sweep.run(config, folder)


KINDS = {'train': _train, 'sweep': _sweep}


def here(kind: str, config, folder: str) -> None:
  """The same in this process, whose peak of memory is then of all its runs."""
  try:
    KINDS[kind](config, folder)
  except Exception as error:
    raise RunFailed(f'{type(error).__name__}: {error}') from error


def _child(send, kind: str, flat: dict, folder: str) -> None:
  threading.Thread(target=_end_with_parent, daemon=True).start()
  from absl import logging
  logging.set_verbosity(logging.WARNING)
  os.makedirs(folder, exist_ok=True)
  log = (pathlib.Path(folder) / 'log.txt').open('a')
  os.dup2(log.fileno(), sys.stdout.fileno())
  os.dup2(log.fileno(), sys.stderr.fileno())
  config = default()
  with config.unlocked():
    config.update(flat)
  try:
    here(kind, config, folder)
  except RunFailed as error:
    send.send(str(error))
    sys.exit(1)
  except KeyboardInterrupt:
    sys.exit(1)


def _end_with_parent() -> None:
  """A run that nobody waits for would hold its folder against the next try."""
  parent = multiprocessing.parent_process()
  multiprocessing.connection.wait([parent.sentinel])
  os._exit(1)
