"""The file of metrics, as runs that go on find and leave it."""

import json
import os

import pytest

from lst.writers import Writer
from tests import runs


@pytest.fixture
def folder(tmp_path):
  """Of a run that was killed while it wrote a line."""
  writer = Writer(tmp_path, 0)
  for step in (1, 2, 3):
    writer.write(step, {'loss': 1.0 / step})
  writer.close()
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 4, "lo')
  return tmp_path


def test_what_came_after_the_checkpoint_is_dropped_and_written_anew(folder):
  writer = Writer(folder, 2)
  assert [line['step'] for line in runs.lines(folder)] == [1, 2]
  writer.write(3, {'loss': 5.0})
  writer.close()
  assert [line['loss'] for line in runs.lines(folder)] == [1.0, 0.5, 5.0]


def test_the_file_is_never_half_of_what_it_was(folder):
  """It is replaced, so a kill at any moment leaves the old one or the new."""
  path, before = folder / 'metrics.jsonl', folder / 'before'
  text = path.read_text()
  os.link(path, before)
  Writer(folder, 2).close()
  assert before.read_text() == text
  assert [json.loads(x)['step'] for x in path.read_text().splitlines()] == [
      1, 2]
  assert not list(folder.glob('*.part'))
