"""The folder of a run: one process at a time, one config for good."""

import contextlib
import difflib
import json
import os
from collections.abc import Iterator
from typing import Any

import filelock
from etils import epath
from ml_collections import ConfigDict

from lst import hosts
from lst.config import flat

CONFIG, RESULT = 'config.json', 'result.json'
# What may change while a run goes on: nothing that its numbers depend on.
FREE = (
    'mesh.', 'profile.', 'data.workers', 'data.prefetch',
    'backbone.blocks_path')


class WorkdirError(Exception):
  """The folder is in use, or belongs to another run."""


@contextlib.contextmanager
def locked(workdir: epath.PathLike) -> Iterator[None]:
  """Holds `workdir`, which is made if need be, against a second process.

  The lock ends with the process, however it ends. On a remote file system,
  which has no such locks, it holds nothing.

  Raises:
    WorkdirError: another process holds it.
  """
  workdir = epath.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  if '://' in os.fspath(workdir):
    yield
    return
  lock = filelock.FileLock(str(workdir / '.lock'))
  try:
    lock.acquire(timeout=0)
  except filelock.Timeout as error:
    raise WorkdirError(
        f'{workdir} is in use by another process: wait for it to end, stop it, '
        'or choose another --workdir') from error
  try:
    yield
  finally:
    lock.release()


def check_config(workdir: epath.PathLike, config: ConfigDict) -> None:
  """Compares the config with that of the run in the folder, if there is one.

  Raises:
    WorkdirError: the folder holds a run of another config; lists each field.
  """
  path = epath.Path(workdir) / CONFIG
  if not path.exists():
    return
  now = _fixed(json.loads(json.dumps(flat(config))))
  try:
    was = _fixed(json.loads(path.read_text()))
  except ValueError as error:
    raise WorkdirError(
        f'{path} cannot be read ({error}): choose another --workdir'
    ) from error
  if was == now:
    return
  lines = difflib.ndiff(
      [f'{k} = {v!r}' for k, v in was.items()],
      [f'{k} = {v!r}' for k, v in now.items()])
  changed = '\n'.join(line for line in lines if line[0] in '+-')
  raise WorkdirError(
      f'{path.parent} holds a run of another config (- there, + now):\n'
      f'{changed}\nGo on with the old config or choose another --workdir.')


def _fixed(fields: dict[str, Any]) -> dict[str, Any]:
  return {k: v for k, v in fields.items() if not k.startswith(FREE)}


@contextlib.contextmanager
def opened(
    workdir: epath.PathLike, config: ConfigDict
) -> Iterator[dict[str, Any] | None]:
  """Holds the folder for a job: process 0 does, and tells the others.

  Gives:
    The result of a run that has ended, or None.

  Raises:
    WorkdirError: as `locked` and `check_config` do, in every process.
  """
  with contextlib.ExitStack() as held:
    def look():
      held.enter_context(locked(workdir))
      check_config(workdir, config)
      path = epath.Path(workdir) / RESULT
      return json.loads(path.read_text()) if path.exists() else None

    yield hosts.agreed(look, WorkdirError, OSError)


def claim(workdir: epath.PathLike, config: ConfigDict) -> None:
  """Makes the folder this config's. Only once it is known to be a good one."""
  write_json(epath.Path(workdir) / CONFIG, flat(config))


def write_json(path: epath.PathLike, content: Any) -> None:
  """Replaces a file in one move, never half written; process 0 does it."""
  if not hosts.first():
    return
  path = epath.Path(path)
  temporary = path.with_name(path.name + '.part')
  temporary.write_text(json.dumps(content, indent=2) + '\n')
  temporary.replace(path)
