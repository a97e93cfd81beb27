"""Metrics to files: one JSON object a line, and TensorBoard events."""

import json
import os
from typing import Any

from etils import epath

from lst import hosts


class Writer:
  """Appends to `workdir`/metrics.jsonl and to TensorBoard events.

  A run that goes on from `step` first drops what an earlier attempt wrote
  after it, so the file reads as if nothing had been interrupted. In a job of
  several processes only the first writes.
  """

  def __init__(self, workdir: epath.PathLike, step: int):
    self._file = self._events = None
    if not hosts.first():
      return
    from tensorboardX import SummaryWriter  # Slow to import.
    workdir = epath.Path(workdir)
    self._path = workdir / 'metrics.jsonl'
    kept = [
        line for line in _lines(self._path) if json.loads(line)['step'] <= step]
    # In one move: a kill here leaves what was there before.
    part = self._path.with_name(f'{self._path.name}.part')
    part.write_text(''.join(line + '\n' for line in kept))
    part.replace(self._path)
    # Nothing can be added to a file in a bucket: it is written anew.
    self._bucket = '://' in os.fspath(workdir)
    self._lines = kept if self._bucket else None
    self._file = None if self._bucket else self._path.open('a')
    self._events = SummaryWriter(
        str(workdir / 'tensorboard'), purge_step=step + 1)

  def write(self, step: int, values: dict[str, Any]) -> None:
    """One line of `values` at `step`; the numbers also as TensorBoard scalars.

    None stands for a number that is none, which JSON cannot say.
    """
    if self._events is None:
      return
    self._add(json.dumps({'step': step, **values}))
    for name, value in values.items():
      if value is not None:
        self._events.add_scalar(name, value, step)

  def observe(
      self, step: int, values: dict[str, float], warnings: list[str]
  ) -> None:
    """Speed and warnings to TensorBoard alone: no two runs have the same."""
    if self._events is None:
      return
    for name, value in values.items():
      self._events.add_scalar(f'speed/{name}', value, step)
    for text in warnings:
      self._events.add_text('warning', text, step)

  def close(self) -> None:
    """Flushes and closes both."""
    if self._file is not None:
      self._file.close()
    if self._events is not None:
      self._events.close()

  def _add(self, line: str) -> None:
    if self._bucket:
      self._lines.append(line)
      self._path.write_text(''.join(f'{line}\n' for line in self._lines))
    else:
      self._file.write(f'{line}\n')
      self._file.flush()


def _lines(path) -> list[str]:
  """The whole lines of a file; a killed run may have left half a line."""
  if not path.exists():
    return []
  return [line for line in path.read_text().splitlines() if _is_json(line)]


def _is_json(line: str) -> bool:
  try:
    return isinstance(json.loads(line), dict)
  except ValueError:
    return False
