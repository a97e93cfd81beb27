"""What a person sees: a banner, a bar or plain lines, and a final table."""

import time

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

# Seconds between plain lines where the output is no terminal.
QUIET = 10.0


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
    start: step to begin at.
    batch_size: examples in a step, for the rate.
    console: of rich; default: the standard output.
  """

  def __init__(
      self, steps: int, start: int, batch_size: int,
      console: Console | None = None):
    self._console = console or Console()
    self._steps, self._batch_size = steps, batch_size
    self._start, self._step, self._warm = start, start, False
    self._began = self._spoke = time.monotonic()
    self._bar = Progress(
        SpinnerColumn(), TextColumn('epoch {task.fields[epoch]:.0f}'),
        BarColumn(bar_width=24), TextColumn('{task.completed}/{task.total}'),
        TextColumn('{task.fields[text]}'), TimeElapsedColumn(),
        TextColumn('left'), TimeRemainingColumn(), console=self._console)
    self._task = self._bar.add_task(
        'train', total=steps, completed=start, epoch=0.0, text='')
    if self._console.is_terminal:
      self._bar.start()

  def step(self, step: int) -> None:
    """Moves the bar."""
    if not self._warm:
      # What the first step waits for says nothing of the rate.
      self._began, self._start, self._warm = time.monotonic(), step, True
    self._step = step
    self._bar.update(self._task, completed=step)

  @property
  def rate(self) -> float:
    """Training images a second since the first step."""
    elapsed = max(time.monotonic() - self._began, 1e-9)
    return (self._step - self._start) * self._batch_size / elapsed

  def metrics(self, epoch: float, values: dict[str, float]) -> None:
    """Shows metrics: beside the bar, or as a line now and then."""
    text = '  '.join(_shown(name, value) for name, value in values.items())
    if self._step > self._start:
      text += f'  {self.rate:,.0f} images/s'
    self._bar.update(self._task, epoch=epoch, text=text)
    now = time.monotonic()
    ends = self._step == self._steps
    if self._console.is_terminal or now < self._spoke + QUIET and not ends:
      return
    self._spoke = now
    left = (self._steps - self._step) * self._batch_size / max(self.rate, 1e-9)
    tail = '' if ends or self._step == self._start else f'  {left:,.0f} s left'
    self._console.print(
        f'step {self._step}/{self._steps}  epoch {epoch:.1f}  {text}{tail}',
        highlight=False, soft_wrap=True)

  def say(self, *lines) -> None:
    """Prints above the bar."""
    for line in lines:
      self._console.print(line, highlight=False)

  def close(self) -> None:
    """Ends the bar."""
    self._bar.stop()


def _shown(name: str, value: float) -> str:
  if name.endswith('accuracy'):
    return f'{name.replace("_", " ")} {value:.1%}'
  return f'{name.replace("_", " ")} {value:.3f}'
