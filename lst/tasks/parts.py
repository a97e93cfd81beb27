"""What a run of several tasks is made of."""

from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from lst import build, inputs, optimizer, sharding
from lst import config as config_lib
from lst.plan import fitting
from lst.stops import evaluation_steps
from lst.sweep import points, stacked
from lst.tasks import mixed


class Task(NamedTuple):
  """One task, as its run alone has it.

  Attributes:
    name: of the task and its folder.
    config: of its run alone.
    built: the parts of that; backbone and weights are shared by all.
    batches_of: its batches.
    stops: steps that validate.
  """

  name: str
  config: ConfigDict
  built: build.Built
  batches_of: inputs.Inputs
  stops: frozenset[int]


def asked(config) -> bool:
  """Whether `config.tasks` names tasks."""
  return len(config.tasks) > 0


def alone(config, name: str):
  """The config of a task's run alone, which gives the same.

  >>> config = config_lib.default()
  >>> config.tasks.shapes = config_lib.data()
  >>> config.tasks.shapes.name = 'procedural'
  >>> alone(config, 'shapes').data.name
  'procedural'
  """
  out = points.copy(config)
  fresh = config_lib.default()
  out.tasks = fresh.tasks
  out.data = points.copy(config.tasks[name])
  return out


def make(config) -> list[Task]:
  """Every task, on one backbone.

  Raises:
    ValueError: the config asks for what cannot be together.
  """
  if any(config.sweep[field] for field in points.FIELDS):
    raise ValueError(
        'config.tasks and config.sweep are both set: sweep each task in a run '
        'of its own (its config.data in place of config.tasks), or leave the '
        'sweep out')
  fitting.refuse(config, 'a run of several tasks')
  if config.method != 'side':
    raise ValueError(
        f'config.method={config.method!r}: tasks share one frozen pass, which '
        "only config.method='side' leaves untouched")
  if config.train.microbatch:
    raise ValueError(
        f'config.train.microbatch={config.train.microbatch} is not there for '
        'several tasks, whose features share one pass: set it to 0 and lower '
        'config.train.batch_size, of which a step takes so many of each task')
  strays = sorted(
      field for field, value in config_lib.data().items()
      if config.data[field] != value)
  if strays:
    raise ValueError(
        f'config.data.{strays[0]}={config.data[strays[0]]!r} is not read beside'
        f' config.tasks: set config.tasks.<name>.{strays[0]} of '
        f'{", ".join(config.tasks)}')
  out, shared = [], None
  for name in sorted(config.tasks):
    own = alone(config, name)
    built = shared = _built(own, shared, name)
    built, batches_of = inputs.open_(own, built)
    out.append(Task(
        name, own, built, batches_of,
        evaluation_steps(own, built.steps, built.steps_per_epoch)))
  return out


def _built(own, shared: build.Built | None, name: str) -> build.Built:
  built = build.beside(shared, own) if shared else build.build(own)
  if built.method.readout is None:
    raise ValueError(
        f'config.side.keep={own.side.keep!r}: several tasks share taps that '
        "are kept, set it to 'exact'")
  if built.dataset.frames:
    raise ValueError(
        f'config.tasks.{name} is of videos: several tasks share a pass over '
        'images alone')
  return built


def stages(steps: list[int]) -> dict[int, tuple[int, ...]]:
  """Which tasks a step has, until when.

  A task that has ended costs a block of every batch until half of the tasks
  have; then the others go on in a smaller program. So the pass is never more
  than twice as wide as it has to be, and few programs are compiled.

  Args:
    steps: of each task.

  Returns:
    {last step: the tasks until then}, in the order of the steps.

  >>> stages([10, 100, 30, 100])
  {30: (0, 1, 2, 3), 100: (1, 3)}
  """
  out, members = {}, tuple(range(len(steps)))
  for end in sorted(set(steps)):
    going = tuple(k for k in members if steps[k] > end)
    if 2 * len(going) <= len(members):
      out[end], members = members, going
  return out


def start(tasks: list[Task]) -> stacked.Runs:
  """All tasks at step 0, each with the parameters it has alone."""
  built = tasks[0].built
  # The schedule has no part in the state of an optimizer.
  return sharding.place(
      stacked.start([t.built.state.params for t in tasks], built.optimizer),
      sharding.replicated(built.mesh))


def plan(tasks: list[Task]) -> mixed.Plan:
  """Schedules and classes of all tasks."""
  most = max(len(t.built.dataset.classes) for t in tasks)
  longest = max(t.built.steps for t in tasks)
  rates = np.zeros((len(tasks), longest + 1), np.float32)
  classes = np.zeros((len(tasks), most), bool)
  for k, task in enumerate(tasks):
    fields, every = task.config.optimizer, task.config.optimizer.accumulate
    updates = task.built.steps // every
    rate = optimizer.schedule(
        fields, updates, task.built.steps_per_epoch / every)
    rates[k, :updates + 1] = jax.jit(jax.vmap(rate))(np.arange(updates + 1))
    classes[k, :len(task.built.dataset.classes)] = True
  return mixed.Plan(
      rates, np.int32([t.built.steps for t in tasks]), classes)
