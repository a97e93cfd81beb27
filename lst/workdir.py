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


class WorkdirError(Exception):
  """The folder is in use, or belongs to another run."""


def flat(config: ConfigDict, prefix: str = '') -> dict[str, Any]:
  """{'optimizer.lr': 0.001, ...} of a config."""
  out = {}
  for name in sorted(config):
    value = config[name]
    if isinstance(value, ConfigDict):
      out.update(flat(value, f'{prefix}{name}.'))
    else:
      out[prefix + name] = value
  return out


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
  """Writes the config of a new run, or compares it with that of the old one.

  Raises:
    WorkdirError: the folder holds a run of another config; lists each field.
  """
  path = epath.Path(workdir) / 'config.json'
  now = json.loads(json.dumps(flat(config)))
  if not path.exists():
    write_json(path, now)
    return
  try:
    was = json.loads(path.read_text())
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


def write_json(path: epath.PathLike, content: Any) -> None:
  """Replaces a file in one move, so that it is never half written."""
  path = epath.Path(path)
  temporary = path.with_name(path.name + '.part')
  temporary.write_text(json.dumps(content, indent=2) + '\n')
  temporary.replace(path)
