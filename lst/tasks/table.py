"""What a run of several tasks shows and leaves: its banner, rows, table."""

from typing import Any

from rich import box
from rich.table import Table

from lst import config as config_lib
from lst import report, screen

# Of a task's own result, its row in the table.
FIELDS = (
    'train_examples', 'steps', 'val_accuracy', 'test_accuracy',
    'test_examples', 'tested_step', 'trainable_params')
# Of any task's result, what holds for all of them.
SHARED = (
    'images_per_second', 'seconds', 'backbone', 'backbone_params',
    'normalisation', 'flops_step_over_forward', 'peak_memory_bytes', 'device',
    'devices', 'versions')


def banner(config, tasks, folder, first: int, facts: dict[str, Any]) -> None:
  """Prints what is about to be trained."""
  about = [
      report.banner(t.config, t.built, folder, first,
                    facts['flops_step_over_forward']) for t in tasks]
  longest = max(range(len(tasks)), key=lambda k: tasks[k].built.steps)
  trained = sum(report.count(t.built.state.params) for t in tasks)
  rows = about[longest] | {
      'data': '\n'.join(
          f'{task.name} = {own["data"]}'
          for task, own in zip(tasks, about, strict=True)),
      'trainable': f'{trained:,} parameters in {len(tasks)} tasks'}
  rows['steps'] = rows['steps'].replace('images', 'images of each task')
  screen.shown().print(screen.table('lst', rows), highlight=False)


class Shown:
  """The mean of what the tasks report, on one screen."""

  def __init__(self, on: screen.Screen):
    self._screen, self._seen = on, {}

  def of(self, name: str) -> '_Own':
    """In place of a screen, for one task."""
    return _Own(self, name)

  def take(self, name: str, epoch: float, values: dict[str, float]) -> None:
    """Newer values of one task."""
    self._seen.setdefault(name, {}).update(values)
    means = {}
    for key in values:
      known = [own[key] for own in self._seen.values() if key in own]
      means[key] = sum(known) / len(known)
    self._screen.metrics(epoch, means)


class _Own:
  """What a `Window` writes one task's metrics to."""

  def __init__(self, shown: Shown, name: str):
    self._shown, self._name = shown, name

  def metrics(self, epoch: float, values: dict[str, float]) -> None:
    """As `Screen.metrics`."""
    self._shown.take(self._name, epoch, values)


def row(result: dict[str, Any], classes: int) -> dict[str, Any]:
  """The row of a task, from its own result."""
  return {'classes': classes, **{field: result[field] for field in FIELDS}}


def result(config, rows: dict[str, dict], last: dict) -> dict[str, Any]:
  """The result of all.

  Args:
    config: of the run.
    rows: of each task.
    last: the result of any task.
  """
  return {
      'tasks': rows, 'mean_val_accuracy': _mean(rows, 'val_accuracy'),
      'mean_test_accuracy': _mean(rows, 'test_accuracy'),
      **{field: last[field] for field in SHARED},
      'config': config_lib.flat(config)}


def _mean(rows, field) -> float | None:
  known = [r[field] for r in rows.values() if r[field] is not None]
  return sum(known) / len(known) if known else None


def show(result: dict[str, Any], folder) -> None:
  """Prints a row a task."""
  rows = result['tasks']
  out = Table(
      title=f'{len(rows)} tasks on {result["backbone"]}', title_justify='left',
      title_style='bold', box=box.SIMPLE, pad_edge=False, show_footer=True)
  out.add_column('task', 'mean', style='cyan')
  for name, footer in (
      ('classes', ''), ('train images', ''), ('steps', ''),
      ('val accuracy', _percent(result['mean_val_accuracy'])),
      ('test accuracy', _percent(result['mean_test_accuracy'])),
      ('at step', '')):
    out.add_column(name, footer, justify='right')
  for name, own in rows.items():
    out.add_row(
        name, f'{own["classes"]:,}', f'{own["train_examples"]:,}',
        f'{own["steps"]:,}', _percent(own['val_accuracy']),
        _percent(own['test_accuracy']), f'{own["tested_step"]:,}')
  console = screen.shown()
  console.print(out, highlight=False)
  console.print(
      f'{result["seconds"]:,.0f} s in all; each task is an ordinary run in '
      f'{folder}/<task>', highlight=False, soft_wrap=True)


def _percent(value: float | None) -> str:
  return '' if value is None else f'{value:.2%}'
