"""What a person sees: a banner, a bar or plain lines, and a final table."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from lst import hosts

# Seconds between plain lines where the output is no terminal.
QUIET = 10.0
# How metrics are called beside a bar; the others are not shown there.
SHORT = {'train_loss': 'loss', 'train_accuracy': 'acc', 'val_accuracy': 'val'}


def shown() -> Console:
  """The standard output of process 0; the other processes show nothing."""
  return Console(quiet=not hosts.first())


def table(title: str, rows: dict[str, str]) -> Table:
  """A table of names and values."""
  out = Table(
      title=title, title_justify='left', title_style='bold', box=box.SIMPLE,
      show_header=False, pad_edge=False)
  out.add_column(style='cyan', no_wrap=True)
  out.add_column(overflow='fold')
  for name, value in rows.items():
    out.add_row(name, value)
  return out


class Screen:
  """A progress bar on a terminal, plain lines elsewhere.

  Args:
    steps: of the whole run.
    start: steps taken by an earlier attempt.
    batch_size: examples in a step, for the rate.
    console: of rich; default: the standard output.
  """

  def __init__(
      self, steps: int, start: int, batch_size: int,
      console: Console | None = None):
    self._console = console or shown()
    self._steps, self._batch_size = steps, batch_size
    self._start, self._step, self._epoch, self._values = start, start, 0.0, {}
    self._began = self._spoke = time.monotonic()
    # Of training alone: when the last step ended, how many, in what time.
    self._tick, self._timed, self._seconds = None, 0, 0.0
    self._said = True
    self._bar = Progress(
        TextColumn('epoch {task.fields[epoch]:.0f}'),
        BarColumn(None, table_column=Column(ratio=1, min_width=4)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn('{task.fields[text]}', table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn('left'), console=self._console, expand=True)
    self._task = self._bar.add_task(
        'train', total=steps, completed=start, epoch=0.0, text='')
    if self._console.is_terminal:
      self._bar.start()

  def step(self, step: int) -> None:
    """Moves the bar."""
    now = time.monotonic()
    # What the first step waits for says nothing of the rate.
    if self._tick is not None:
      self._timed += step - self._step
      self._seconds += now - self._tick
    self._tick, self._step = now, step
    self._bar.update(self._task, completed=step)

  def go_on(self) -> None:
    """What came since the last step, such as validation, is no training."""
    self._tick = time.monotonic()

  @property
  def rate(self) -> float | None:
    """Training images a second since the first step, or None if none was."""
    if not self._timed:
      return None
    return self._timed * self._batch_size / max(self._seconds, 1e-9)

  def metrics(self, epoch: float, values: dict[str, float]) -> None:
    """Shows metrics: beside the bar, or as a line now and then."""
    self._epoch, self._said = epoch, False
    self._values.update(values)
    shown = {SHORT[k]: v for k, v in self._values.items() if k in SHORT}
    rate = '' if self.rate is None else f'{self.rate:,.0f}/s'
    text = ' '.join([*(_shown(*item) for item in shown.items()), rate])
    self._bar.update(self._task, epoch=epoch, text=text)
    if time.monotonic() >= self._spoke + QUIET and self._step < self._steps:
      self._say()

  def warn(self, text: str) -> None:
    """One line above the bar."""
    self._console.print(
        f'warning: {text}', style='yellow', highlight=False, soft_wrap=True)

  def close(self) -> None:
    """Ends the bar; the last line of plain ones is said in any case."""
    if not self._said:
      self._say()
    self._bar.stop()

  def _say(self) -> None:
    """One plain line of the newest metrics."""
    self._spoke, self._said = time.monotonic(), True
    if self._console.is_terminal:
      return
    words = [f'step {self._step}/{self._steps}', f'epoch {self._epoch:.1f}']
    words += [_shown(name.replace('_', ' '), value)
              for name, value in self._values.items()]
    if self.rate is not None:
      words.append(f'{self.rate:,.0f} images/s')
    taken, left = self._step - self._start, self._steps - self._step
    if taken and left:
      seconds = (time.monotonic() - self._began) / taken * left
      words.append(f'{seconds:,.0f} s left')
    self._console.print('  '.join(words), highlight=False, soft_wrap=True)


def _shown(name: str, value: float) -> str:
  whole = name in ('acc', 'val') or name.endswith('accuracy')
  return f'{name} {value:.1%}' if whole else f'{name} {value:.3f}'


class Filling:
  """Bars while features are computed ahead of a run, and what is said."""

  def __init__(self, console: Console | None = None):
    self._console = console or shown()

  def say(self, text: str) -> None:
    """One line."""
    self._console.print(text, highlight=False, soft_wrap=True)

  @contextlib.contextmanager
  def of(self, what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives progress(rows done, rows to do); the bar comes with its first."""
    bar = Progress(
        TextColumn('{task.description}'), BarColumn(None),
        MofNCompleteColumn(), TimeRemainingColumn(compact=True),
        TextColumn('left'), console=self._console, expand=True,
        transient=True)
    task = bar.add_task(what, total=None)

    def progress(done: int, total: int) -> None:
      if self._console.is_terminal:
        bar.start()
      bar.update(task, completed=done, total=total)

    try:
      yield progress
    finally:
      bar.stop()
