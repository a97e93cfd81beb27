"""A frozen backbone as two things: its weights and a pure function of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Num


class Backbone(NamedTuple):
  """A frozen backbone, ready to be applied.

  Attributes:
    name: of the checkpoint.
    family: the naming scheme the checkpoint came in.
    apply: (frozen, images uint8 or float in [0, 255] (B, H, W, 3), or with
      `tubelet` clips (B, T, H, W, 3), at) -> last state (B, N, D); `at(k, x)`
      is the hook of `vit.ViT`. That of `build` also takes `start`, a state that
      the second argument then is, ahead of `at`, `stop`, a state to end with,
      and `gather`, all of `vit.ViT`.
    frozen: the weights. They are an argument of every jitted function, never
      closed over: a closure would hold them twice.
    image_size: (height, width) in pixels.
    tokens, width, depth, prefix: N, D, L, and the CLS and register tokens
      among N; with `tubelet` the tokens of one time, none ahead of them.
    cls: whether token 0 is a CLS token.
    eps: of the final norm.
    mean, std: of the RGB inputs in [0, 1] that `apply` brings images to.
    dtype: 'bfloat16' or 'float32'.
    states: (frozen, images) -> the states after every block, (L, B, N, D),
      where the blocks are a stack that a scan runs over; None where not. Given
      `see`, `carry` and `given` too, it is the visit of `visits.over`.
    steps: the pass in parts (`passes.Steps`), where the blocks stay on disk;
      then it is no program, and `backbone.runner` runs it.
    blocks: how they are kept, one of `placing.BLOCKS_KEPT`.
    quantise: what their kernels are, of `quantised.KINDS`, or 'none'.
    frames: T of the clips that it is given (`of_clips`); 0 for images.
    tubelet: frames that a token spans, where clips go through as they are; 0
      where each frame does so by itself.
  """

  name: str
  family: str
  apply: Callable[..., Array]
  frozen: dict
  image_size: tuple[int, int]
  tokens: int
  width: int
  depth: int
  prefix: int
  cls: bool
  eps: float
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  states: Callable[..., Array] | None = None
  steps: Any | None = None
  blocks: str = 'loop'
  quantise: str = 'none'
  frames: int = 0
  tubelet: int = 0

  @property
  def times(self) -> int:
    """Of the features of a clip, whose tokens are (times, tokens); 0 of images.
    """
    return self.frames // (self.tubelet or 1)

  @property
  def input_size(self) -> tuple[int, ...]:
    """([T,] height, width) of one input."""
    return (self.frames,) * bool(self.frames) + tuple(self.image_size)


def of_clips(backbone: Backbone, frames: int) -> Backbone:
  """The backbone on clips of `frames` frames; 0: on images.

  Raises:
    ValueError: it reads tubelets, and these are images or do not divide.
  """
  if backbone.tubelet and not frames:
    raise ValueError(
        f'{backbone.name} reads clips: give it videos (config.data.name, such '
        'as video_folder), or take a backbone of images')
  if backbone.tubelet and frames % backbone.tubelet:
    raise ValueError(
        f'config.data.video.frames={frames} does not divide into tubelets: '
        f'{backbone.name} needs a multiple of {backbone.tubelet}')
  return backbone._replace(frames=frames)


def entering(
    backbone: Backbone, inputs: Num[Array, 'b *t h w c']
) -> Num[Array, 'm *u h w c']:
  """Inputs as `apply` takes them: clips whole, or each frame as an image."""
  if backbone.tubelet:
    return inputs
  return inputs.reshape(-1, *inputs.shape[-3:])


def tokens_of(backbone: Backbone, entered: tuple[int, ...]) -> int:
  """Tokens of one of them, by their shape, but for those ahead of a clip's."""
  times = entered[1] // backbone.tubelet if backbone.tubelet else 1
  return times * backbone.tokens


def by_input(
    backbone: Backbone,
    state: Float[Array, 'm n d'],
    inputs: Num[Array, 'b *t h w c'],
) -> Float[Array, 'b k d']:
  """A state that `apply` gave of `entering(backbone, inputs)`, by input.

  All tokens of a clip side by side, those of one time after another; without
  the tokens ahead of them, where it went through whole.
  """
  if backbone.tubelet:
    return state[:, -tokens_of(backbone, inputs.shape):]
  return state.reshape(len(inputs), -1, state.shape[-1])
