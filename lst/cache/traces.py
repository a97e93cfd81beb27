"""What a program computes, as a digest that any machine finds alike."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core

from lst.cache import key as keys

# Machines with a GPU trace another form for it than those without.
DIFFERS = 'cuda'


def digest_of(function: Callable, *args: Any) -> str:
  """A digest of the trace of `function(*args)`; `args` may be shapes.

  Everything counts but what is for GPUs alone: so a machine without one finds
  the features that a machine with one has made.
  """
  constants = []
  program = _alike(jax.make_jaxpr(function)(*args), constants, {})
  # Functions print where they lie in memory.
  text = re.sub(r'0x[0-9a-f]+', '', str(program))
  text += keys.digest_of(constants)
  return hashlib.sha256(text.encode()).hexdigest()


def _alike(value: Any, constants: list, seen: dict[int, Any]) -> Any:
  """A program, or what holds programs, without what differs.

  Args:
    value: of a parameter of an equation; what holds no program stays.
    constants: takes those of inner programs.
    seen: by identity, which lasts as long as what it is of, so that is there,
      too: a program that is called twice is printed once.
  """
  if id(value) in seen:
    return seen[id(value)][1]
  made = value
  if isinstance(value, core.Jaxpr):
    # From JAX 0.12 on a program holds its constants itself.
    constants.extend(getattr(value, 'consts', ()))
    made = value.replace(eqns=[
        eqn.replace(params={
            name: _alike(part, constants, seen)
            for name, part in _kept(eqn.params).items()})
        for eqn in value.eqns])
  elif isinstance(value, core.ClosedJaxpr):
    constants.extend(value.consts)
    made = value.replace(jaxpr=_alike(value.jaxpr, constants, seen))
  elif isinstance(value, (tuple, list)) and any(
      isinstance(x, (core.Jaxpr, core.ClosedJaxpr)) for x in value):
    made = tuple(_alike(x, constants, seen) for x in value)
  seen[id(value)] = value, made
  return made


def _kept(params: dict[str, Any]) -> dict[str, Any]:
  """The parameters of an equation, where it is for all platforms alike."""
  platforms = params.get('branches_platforms')
  if platforms is None:
    return params
  kept = [
      branch for branch, of in zip(params['branches'], platforms, strict=True)
      if DIFFERS not in (of or ())]
  return {**params, 'branches': tuple(kept)}
