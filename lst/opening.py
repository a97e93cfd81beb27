"""How a run of any kind begins: its folder, and what an earlier one left."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from etils import epath

from lst import checkpoint, data, workdir
from lst import config as config_lib


def once(
    config: Any,
    folder: epath.PathLike,
    run: Callable[[Any, epath.Path], dict[str, Any]],
    show: Callable[[dict[str, Any], epath.Path], Any],
) -> dict[str, Any]:
  """Does a run in a folder that is held meanwhile, or shows what it left.

  Args:
    config: `lst.config.default()`, changed or not.
    folder: of this run; it is made if need be.
    run: (config, folder) -> the content of result.json.
    show: (that, folder), in place of a run that has ended already.

  Returns:
    The content of result.json.

  Raises:
    lst.workdir.WorkdirError: the folder is in use or holds another run.
    ValueError: the config has not the fields that it should have.
  """
  config_lib.check(config)
  folder = epath.Path(folder)
  with workdir.opened(folder, config) as done:
    if done is None:
      return run(config, folder)
    show(done, folder)
    return done


def positions(config: Any, split: data.Split) -> Callable[..., data.Position]:
  """(step=...) -> where in `split` a run is then."""
  return functools.partial(
      data.position, split, batch_size=config.train.batch_size,
      seed=config_lib.order_seed(config))


class Resumed(NamedTuple):
  """Where a run goes on.

  Attributes:
    state: of it, on the devices.
    step: that it has taken; 0 at the start.
    seconds: that it has taken so far.
  """

  state: Any
  step: int
  seconds: float


def resumed(
    checkpoints: ocp.CheckpointManager, start: Any,
    position: Callable[..., data.Position],
    like: Callable[[int], Any] | None = None,
) -> Resumed:
  """The last checkpoint, or the start where there is none.

  Args:
    checkpoints: of the folder, see `checkpoint.manager`.
    start: the state at step 0.
    position: (step=...) -> where in the data the run is then.
    like: step -> a state of the shapes of that step, if not those of `start`.

  Raises:
    ValueError: it was left by a run of other parameters or data.
  """
  step = checkpoints.latest_step() or 0
  if not step:
    return Resumed(start, 0, 0.0)
  saved = checkpoint.restore(
      checkpoints, step, like(step) if like else start)
  data.check_position(saved.position, position(step=step))
  return Resumed(saved.state, step, saved.seconds)
