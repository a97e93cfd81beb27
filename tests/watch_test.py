"""What a run tells of its speed, and of what holds it up."""

import io

import numpy as np
import pytest
from etils import epath
from rich.console import Console

from lst import screen, watch, window, writers


class Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def metered(input_, device, rest, steps=100, compiling=0.0):
  """A meter after so many steps of these parts, in seconds."""
  clock = Clock()
  meter = watch.Meter(steps, 16, compiling, clock)
  for _ in range(steps + 1):
    with meter.part('input'):
      clock.now += input_
    with meter.part('device'):
      clock.now += device
    clock.now += rest
    meter.step()
  return meter


@pytest.mark.parametrize(('parts', 'compiling', 'said'), [
    ((0.1, 0.05, 0.05), 0.0, ['input-bound: 50%']),
    ((0.0, 0.01, 0.19), 0.0, ['host-bound: the devices wait for Python']),
    ((0.0, 0.19, 0.01), 60.0, ['compile-bound: 75%']),
    ((0.0, 0.19, 0.01), 5.0, []),
    ((0.01, 0.01, 0.01), 0.0, []),
])
def test_the_bottleneck_is_named_once(parts, compiling, said):
  meter = metered(*parts, compiling=compiling)
  values, warnings = meter.take()
  assert [text[:len(start)] for text, start in zip(
      warnings, said, strict=True)] == said
  np.testing.assert_allclose(values['step_ms_p50'], 1e3 * sum(parts))
  np.testing.assert_allclose(values['images_per_second'], 16 / sum(parts))
  shares = [values[f'{k}_share'] for k in ('input', 'device', 'host')]
  np.testing.assert_allclose(shares, np.array(parts) / sum(parts), atol=1e-6)
  assert meter.take() == ({}, [])
  total = meter.total()
  assert total == {k: pytest.approx(values[k]) for k in total}
  assert {'step_ms_p99', 'input_share', 'host_share'} < total.keys()


@pytest.mark.parametrize('steps', [(3,), (5, 2), (0, 4), (1.5, 2), (1, 2, 3)])
def test_a_trace_is_of_two_steps_in_order(steps, tmp_path):
  with pytest.raises(ValueError, match=r'config\.profile\.steps='):
    watch.Trace(steps, epath.Path(tmp_path))


def test_what_is_observed_goes_to_tensorboard_and_warnings_to_the_log_too(
    tmp_path):
  file = io.StringIO()
  console = Console(file=file, width=200, color_system=None)
  view = screen.Screen(10, 0, 16, console)
  writer = writers.Writer(tmp_path, 0)
  values, warnings = metered(0.1, 0.05, 0.05).take()
  window.Window(None, None, tmp_path, writer, view).observed(
      7, values, warnings)
  writer.close()
  assert 'warning: input-bound: 50% of the time' in file.getvalue()
  [events] = (tmp_path / 'tensorboard').iterdir()
  content = events.read_bytes()
  for name in ('speed/images_per_second', 'speed/step_ms_p90',
               'speed/input_share', 'warning/text_summary',
               'input-bound: 50% of the time'):
    assert name.encode() in content, name
  # Two runs are to have the same metrics.
  assert not (tmp_path / 'metrics.jsonl').read_text()
