"""The bar on a terminal, plain lines elsewhere, and the rate they show."""

import io
import re

import pytest
from rich.console import Console

from lst import screen

VALUES = {'train_loss': 1.25, 'train_accuracy': 0.5}


@pytest.fixture
def clock(monkeypatch):
  """The time, in the test's hands."""
  class Clock:
    now = 0.0

    def monotonic(self):
      return self.now

  clock = Clock()
  monkeypatch.setattr(screen, 'time', clock)
  return clock


def shown(steps=10, start=0, width=80, terminal=False):
  file = io.StringIO()
  console = Console(
      file=file, width=width, force_terminal=terminal, color_system=None,
      legacy_windows=False)
  return screen.Screen(steps, start, 16, console), file


def test_rate_leaves_out_the_first_step_and_what_is_no_training(clock):
  view, _ = shown()
  clock.now = 50.0  # waited for the first step
  view.step(1)
  assert view.rate is None
  clock.now = 51.0
  view.step(2)
  assert view.rate == 16.0
  clock.now = 90.0  # validated
  view.go_on()
  clock.now = 91.0
  view.step(3)
  assert view.rate == 16.0
  clock.now = 500.0  # tested
  assert view.rate == 16.0
  view.close()


def test_plain_lines_come_now_and_then_and_at_the_end(clock):
  view, file = shown()
  for step in range(1, 11):
    clock.now += 4.0
    view.step(step)
    view.metrics(step / 2, {**VALUES, 'val_accuracy': step / 10})
  view.close()
  lines = file.getvalue().splitlines()
  assert [line.split()[1] for line in lines if line] == [
      '3/10', '6/10', '9/10', '10/10']
  assert lines[0] == (
      'step 3/10  epoch 1.5  train loss 1.250  train accuracy 50.0%  '
      'val accuracy 30.0%  4 images/s  28 s left')
  assert 'left' not in lines[3]
  assert not any(c in file.getvalue() for c in '\x1b\r')


def test_time_left_counts_the_steps_of_this_attempt_alone(clock):
  view, file = shown(start=6)
  clock.now = 20.0
  view.step(8)
  view.metrics(4.0, VALUES)
  view.close()
  assert '  20 s left' in file.getvalue()


def test_nothing_new_is_not_said_twice(clock):
  view, file = shown()
  clock.now = 30.0
  view.step(1)
  view.metrics(1.0, VALUES)
  view.close()
  assert file.getvalue().count('step 1/10') == 1


@pytest.mark.parametrize('width', [80, 120])
def test_bar_shows_all_on_one_line_of_a_terminal(width):
  view, file = shown(steps=1500, width=width, terminal=True)
  for step in range(1, 1001):
    view.step(step)
  view.metrics(357.0, {**VALUES, 'val_loss': 1.0, 'val_accuracy': 1.0})
  view.close()
  text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', file.getvalue())
  last = re.split(r'[\r\n]+', text.rstrip())[-1]
  assert len(last) <= width
  for words in ('epoch 357', '━', '1000/1500', 'loss 1.250', 'acc 50.0%',
                'val 100.0%', '/s', 'left'):
    assert words in last, last
  assert 'step 1' not in file.getvalue()


def test_table_holds_its_rows_at_any_width():
  file = io.StringIO()
  long = 'x' * 100
  Console(file=file, width=40).print(
      screen.table('title', {'name': 'value', 'folder': long}))
  text = file.getvalue()
  assert 'title' in text and 'value' in text
  assert text.count('x') == 100 and max(map(len, text.splitlines())) <= 40
