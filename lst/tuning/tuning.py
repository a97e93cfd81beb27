"""`Tuning`: what a method changes inside of a backbone, as pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Num

from lst.backbones.backbone import Backbone
from lst.backbones.block import At, unchanged

Params = Any
_STATE = 'state'


def _as_they_are(params: Params, frozen: dict) -> dict:
  del params
  return frozen


def _no_hook(params: Params, weights: dict) -> At:
  del params, weights
  return unchanged


class Tuning(NamedTuple):
  """A change of a backbone: of its weights, of its states, or of both.

  Attributes:
    init: (key, frozen) -> params, which are trained.
    weights: (params, frozen) -> the weights that the backbone runs with.
    at: (params, those weights) -> the hook that it runs with. A new one for
      every pass, since it may keep states on the way.
  """

  init: Callable[[Array, dict], Params]
  weights: Callable[[Params, dict], dict] = _as_they_are
  at: Callable[[Params, dict], At] = _no_hook


def states(
    backbone: Backbone, tuning: Tuning, remat: bool
) -> Callable[[Params, dict, Num[Array, 'b *t h w c']], Float[Array, 'b n d']]:
  """(params, weights, images or clips) -> the last state, tuned.

  Args:
    backbone: that is tuned.
    tuning: what is trained.
    remat: keep only what goes into each block for the backward pass, which
      then computes the inside of a block anew (Chen et al., "Training deep nets
      with sublinear memory cost", 2016): a forward pass more, for the
      activations of one block in place of those of all.
  """
  def plain(params, weights, images):
    return backbone.apply(weights, images, tuning.at(params, weights))

  def named(params, weights, images):
    hook = tuning.at(params, weights)

    def at(k, x):
      x = hook(k, x)
      return x if k % 2 else checkpoint_name(x, _STATE)

    return backbone.apply(weights, images, at)

  if not remat:
    return plain
  return jax.checkpoint(
      named, policy=jax.checkpoint_policies.save_only_these_names(_STATE))
