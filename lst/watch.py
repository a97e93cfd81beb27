"""Where the time of a run goes, and a trace of some of its steps."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from etils import epath

from lst import hosts

# The share of the time from which on a part of a step is what holds it up.
MUCH = 0.3
# Seconds of steps, and of compiling, that are too few to warn of.
SOON = 10.0
ADVICE = {
    'input': (
        'input-bound: {:.0%} of the time goes to waiting for batches. Raise '
        'config.data.workers, keep features (config.cache.mode=disk or ram) or '
        'put the data on a faster disk'),
    'host': (
        'host-bound: the devices wait for Python for {:.0%} of the time. Raise '
        'config.train.batch_size, or train several runs at once '
        '(config.sweep)'),
    'compile': (
        'compile-bound: {:.0%} of the run goes to compiling. Set '
        'JAX_COMPILATION_CACHE_DIR to a folder that later runs share, or train '
        'several runs at once (config.sweep)'),
}


class Meter:
  """Times the steps of a run and the parts that each is made of.

  Args:
    steps: that are to come.
    batch_size: examples in a step.
    compiling: seconds that compiling took.
    clock: () -> seconds.
  """

  def __init__(
      self, steps: int, batch_size: int, compiling: float,
      clock=time.monotonic):
    self._steps, self._batch_size, self._clock = steps, batch_size, clock
    self._compiling = compiling
    self._all, self._said = [], set()
    self._waited = {'input': 0.0, 'device': 0.0}
    self._begin()
    self._tick = None

  def _begin(self) -> None:
    self._durations, self._parts = [], {'input': 0.0, 'device': 0.0}

  @contextlib.contextmanager
  def part(self, name: str) -> Iterator[None]:
    """Times a part of a step: waiting for 'input' or for the 'device'."""
    began = self._clock()
    try:
      yield
    finally:
      # The first step waits for what no other does.
      if self._tick is not None:
        self._parts[name] += self._clock() - began

  def step(self) -> None:
    """A step has ended."""
    now = self._clock()
    if self._tick is not None:
      self._durations.append(now - self._tick)
    self._tick = now

  def go_on(self) -> None:
    """What came since the last step, such as validation, is no step."""
    self._tick = self._clock()

  def take(self) -> tuple[dict[str, float], list[str]]:
    """The figures since the last call, and what is newly to be warned of."""
    if not self._durations:
      return {}, []
    values = {**self._figures(self._durations),
              **_shares(self._parts, self._durations)}
    self._all += self._durations
    self._waited = self._so_far()
    memory = device_memory()
    if memory is not None:
      values['device_memory_gib'] = memory / 2**30
    self._begin()
    return values, self._warnings(values, sum(self._all))

  def total(self) -> dict[str, float]:
    """Step times, and what they were made of, over the whole run."""
    durations = self._all + self._durations
    if not durations:
      return {}
    return {**self._figures(durations), **_shares(self._so_far(), durations)}

  def _so_far(self) -> dict[str, float]:
    return {k: v + self._parts[k] for k, v in self._waited.items()}

  def _figures(self, durations) -> dict[str, float]:
    p50, p90, p99 = (
        float(x) for x in np.percentile(durations, (50, 90, 99)) * 1e3)
    rate = len(durations) * self._batch_size / max(sum(durations), 1e-9)
    return {'images_per_second': rate, 'step_ms_p50': p50,
            'step_ms_p90': p90, 'step_ms_p99': p99}

  def _warnings(self, values, timed: float) -> list[str]:
    left = self._steps * values['step_ms_p50'] / 1e3
    shares = {
        'input': values['input_share'],
        # Python is ahead of a device that it has to wait for at all.
        'host': values['host_share'] if values['device_share'] < 0.1 else 0.0,
        'compile': self._compiling / max(self._compiling + left, 1e-9)}
    found = []
    enough = dict.fromkeys(('input', 'host'), timed > SOON)
    enough['compile'] = self._compiling > SOON
    for name, share in shares.items():
      if enough[name] and share > MUCH and name not in self._said:
        self._said.add(name)
        found.append(ADVICE[name].format(share))
    return found


def told(speed: dict[str, float]) -> dict[str, str]:
  """`Meter.total` for the eye.

  >>> told({'step_ms_p50': 2.0, 'step_ms_p90': 2.5, 'step_ms_p99': 31.0,
  ...       'input_share': 0.1, 'device_share': 0.85, 'host_share': 0.05})
  {'a step': '2.0 ms, 90% within 2.5, 99% within 31.0', 'its time': '10% \
waiting for batches, 85% for the devices, 5% Python'}
  """
  return {
      'a step': (
          f'{speed["step_ms_p50"]:.1f} ms, 90% within '
          f'{speed["step_ms_p90"]:.1f}, 99% within {speed["step_ms_p99"]:.1f}'),
      'its time': (
          f'{speed["input_share"]:.0%} waiting for batches, '
          f'{speed["device_share"]:.0%} for the devices, '
          f'{speed["host_share"]:.0%} Python')}


def _shares(parts: dict[str, float], durations) -> dict[str, float]:
  whole = max(sum(durations), 1e-9)
  shares = {k: min(v / whole, 1.0) for k, v in parts.items()}
  shares['host'] = max(0.0, 1.0 - sum(shares.values()))
  return {f'{k}_share': v for k, v in shares.items()}


def device_memory() -> int | None:
  """Bytes in use on the first device of this host, where it can tell."""
  stats = jax.local_devices()[0].memory_stats() or {}
  return stats.get('bytes_in_use')


class Trace:
  """A trace of some steps for xprof, in `folder`/profile.

  Args:
    steps: (first, last), or () for none.
    folder: of the run.

  Raises:
    ValueError: `steps` are not two steps in order.
  """

  def __init__(self, steps: tuple, folder: epath.Path):
    steps = tuple(steps)
    if steps and (
        len(steps) != 2 or not 1 <= steps[0] <= steps[1]
        or any(not isinstance(step, int) for step in steps)):
      raise ValueError(
          f'config.profile.steps={steps} has to be the first and the last step '
          'to trace, such as 10,15, or ()')
    self._steps, self._folder, self._on = steps, folder / 'profile', False

  def at(self, step: int, before: Any) -> None:
    """Starts or ends the trace, ahead of `step`.

    Args:
      step: that is next.
      before: what the step before gave; the trace ends once it is there.
    """
    if not self._steps:
      return
    first, last = self._steps
    if first <= step <= last and not self._on:
      jax.profiler.start_trace(str(self._folder))
      self._on = True
    elif self._on and step > last:
      jax.block_until_ready(before)
      self.close()

  def close(self) -> None:
    """Ends the trace, if there is one."""
    if self._on:
      self._on = False
      jax.profiler.stop_trace()
      if hosts.first():
        print(f'trace of steps {self._steps[0]} to {self._steps[1]}: '
              f'xprof --logdir {self._folder}')
