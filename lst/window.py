"""The metrics of the steps since the last line, and a stop where they fail."""

import jax
import numpy as np

from lst import metrics


class NonFiniteError(Exception):
  """The loss or a parameter is not a finite number any more."""


class Window:
  """Sums the metrics of some steps, one step late, and writes their means."""

  def __init__(self, config, built, folder, writer, screen):
    self._config, self._built, self._folder = config, built, folder
    self._writer, self._screen = writer, screen
    self._total, self._pending = metrics.Sums(), None

  def push(self, now: int, sums: metrics.Sums, ends: bool) -> None:
    """Takes the sums of step `now`; reads those of the step before."""
    before, self._pending = self._pending, (now, sums, ends)
    self._read(before)

  def settle(self) -> None:
    """Reads what is still out."""
    before, self._pending = self._pending, None
    self._read(before)

  def _read(self, pending) -> None:
    if pending is None:
      return
    now, sums, ends = pending
    sums = sums.on_host()
    if not np.isfinite(sums.loss):
      self._stop(now, f'the loss is {float(sums.loss / sums.count)}')
    self._total += sums
    if ends:
      means = {f'train_{k}': v for k, v in self._total.means().items()}
      self._total = metrics.Sums()
      self._write(now, means)

  def validated(self, now: int, sums: metrics.Sums) -> float:
    """Writes validation metrics and returns the accuracy."""
    means = {f'val_{k}': v for k, v in sums.means().items()}
    self._write(now, means)
    return means['val_accuracy']

  def observed(
      self, now: int, values: dict[str, float], warnings: list[str]
  ) -> None:
    """Writes how fast the run is; shows what holds it up."""
    self._writer.observe(now, values, warnings)
    for warning in warnings:
      self._screen.warn(warning)

  def check_params(self, now: int, params) -> None:
    """Raises NonFiniteError before bad parameters reach a checkpoint."""
    for path, leaf in jax.tree.leaves_with_path(jax.device_get(params)):
      if not np.isfinite(leaf).all():
        self._stop(now, f'{jax.tree_util.keystr(path)} is not finite')

  def _write(self, now: int, values: dict[str, float]) -> None:
    epoch = now / self._built.steps_per_epoch
    self._writer.write(now, {'epoch': round(epoch, 4), **values})
    self._screen.metrics(epoch, values)

  def _stop(self, now: int, what: str) -> None:
    raise NonFiniteError(
        f'{what} at step {now} (epoch {now / self._built.steps_per_epoch:.1f})'
        f': lower config.optimizer.lr (now {self._config.optimizer.lr}), '
        'lengthen config.optimizer.warmup_epochs or set '
        'config.optimizer.clip_norm=1. The last good checkpoint is kept in '
        f'{self._folder}/checkpoints; start again in another --workdir.')
