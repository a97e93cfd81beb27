"""Checkpoints of what was trained: the best and the last, never the backbone.

Orbax writes to a temporary folder and renames it when it is whole, so a run
killed at any moment finds its last whole checkpoint.
"""

from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from etils import epath

from lst import data

# Stands for the accuracy of a checkpoint that was not validated. Orbax warns of
# a checkpoint without a metric, and any validated one is better than this.
_NOT_VALIDATED = -1.0


class Restored(NamedTuple):
  """A checkpoint read back.

  Attributes:
    state: the state (a NamedTuple), placed as the template was.
    position: where in the data the run was.
    seconds: that the run had taken so far.
  """

  state: Any
  position: data.Position
  seconds: float


def manager(workdir: epath.PathLike) -> ocp.CheckpointManager:
  """Asynchronous checkpoints in `workdir`/checkpoints.

  Kept are the last one and the one of the highest `val_accuracy`.
  """
  policies = ocp.checkpoint_managers
  options = ocp.CheckpointManagerOptions(
      cleanup_tmp_directories=True,
      # Without it Orbax neither writes metrics nor knows which is the best.
      best_fn=_accuracy,
      preservation_policy=policies.AnyPreservationPolicy([
          policies.LatestN(1),
          # A kill while an old one is removed may leave it without metrics.
          policies.BestN(
              get_metric_fn=_accuracy, n=1,
              keep_checkpoints_without_metrics=False)]))
  folder = epath.Path(workdir).resolve() / 'checkpoints'
  handlers = {
      'state': ocp.StandardCheckpointHandler(),
      'about': ocp.JsonCheckpointHandler()}
  return ocp.CheckpointManager(
      folder, options=options, item_handlers=handlers)


def _accuracy(metrics: dict[str, float]) -> float:
  return metrics['val_accuracy']


def save(
    checkpoints: ocp.CheckpointManager,
    state: Any,
    position: data.Position,
    seconds: float,
    val_accuracy: float | None,
) -> None:
  """Starts writing a checkpoint, unless this step has one already."""
  if position.step in checkpoints.all_steps():
    return
  about = {'position': position._asdict(), 'seconds': seconds}
  accuracy = _NOT_VALIDATED if val_accuracy is None else val_accuracy
  checkpoints.save(
      position.step, metrics={'val_accuracy': accuracy},
      args=ocp.args.Composite(
          state=ocp.args.StandardSave(state._asdict()),
          about=ocp.args.JsonSave(about)))


def restore(
    checkpoints: ocp.CheckpointManager, step: int, template: Any
) -> Restored:
  """Reads the checkpoint of `step` to the shapes and devices of `template`.

  Raises:
    ValueError: it was written by a run with other parameters; lists them.
  """
  _check_shapes(checkpoints, step, template)
  abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template._asdict())
  read = checkpoints.restore(
      step, args=ocp.args.Composite(
          state=ocp.args.StandardRestore(abstract),
          about=ocp.args.JsonRestore()))
  return Restored(
      type(template)(**read.state), data.Position(**read.about['position']),
      read.about['seconds'])


def _check_shapes(checkpoints, step, template) -> None:
  """Looks before anything is read: a failed read leaves threads behind."""
  saved = _shapes(checkpoints.item_metadata(step)['state'].tree)
  now = _shapes(template._asdict())
  names = sorted(
      (name for name in saved.keys() | now.keys()
       if saved.get(name) != now.get(name)),
      key=lambda name: (not name.startswith('params'), name))
  differing = [
      f'\n  {name}: {saved.get(name, "none")} there, {now.get(name, "none")} '
      'now' for name in names]
  if differing:
    raise ValueError(
        f'{checkpoints.directory}/{step} does not hold the state of this '
        f'config:{"".join(differing[:10])}\n({len(differing)} differ) Start in '
        'a new --workdir, or restore the config this one was started with.')


def _shapes(tree) -> dict[str, tuple[int, ...]]:
  leaves = jax.tree.leaves_with_path(tree)
  return {
      jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
      for path, leaf in leaves}


def best_step(checkpoints: ocp.CheckpointManager) -> int | None:
  """Step of the highest validation accuracy, of equals the latest; or None."""
  return checkpoints.best_step()
