"""What the PyTorch families share: their tensors under different names."""

import functools
from typing import NamedTuple

import numpy as np

from lst.backbones.families import family
from lst.backbones.families.family import Row
from lst.backbones.vit import ViT


class Names(NamedTuple):
  """Where a family keeps each part; '' or () for what it does not have.

  Names within a block follow `block`; linear layers and norms stand without
  '.weight' and '.bias'.
  """

  patches: str
  block: str  # with {} for the number of the block
  norm1: str
  qkv: tuple[str, ...]  # one fused layer, or three
  out: str
  norm2: str
  up: tuple[str, ...]  # gated in two layers: (gate, up)
  down: str
  norm: str
  tokens: tuple[str, ...] = ()  # ahead of the patches, in order
  positions: str = ''
  scales: tuple[str, ...] = ()
  pre_norm: str = ''
  patch_bias: bool = True
  key_bias: bool = True
  qkv_biases: tuple[str, ...] = ()  # where they are not below `qkv`


class Traits(NamedTuple):
  """What shapes do not tell."""

  heads: int | None = None
  heads_by_width: dict[int, int] = {}  # noqa: RUF012
  activation: str = 'gelu'
  eps: float = 1e-6
  resize: str = 'bicubic'
  rope_base: float = 100.0
  positioned: tuple[int, ...] = (0,)  # prefix tokens with a position, perhaps
  fixed: str = 'rotary'  # the positions of a family that learns none
  sides: tuple[int, int] | None = None  # of the image, in pixels
  frames: int = 0  # of a clip
  cls: bool = True


def vit_of(shapes, n: Names, traits: Traits) -> tuple[ViT, int]:
  """The model that the shapes tell of, and how many tokens have positions."""
  weight = shapes[f'{n.patches}.weight']
  width = weight[0]
  # A linear layer on flattened patches or a convolution over them.
  patch = weight[-1] if len(weight) > 2 else round((weight[1] / 3) ** 0.5)
  tubelet = weight[2] if len(weight) == 5 else 0
  tokens = sum(_count(shapes, token, width) for token in n.tokens)
  sides = traits.sides and tuple(s // patch for s in traits.sides)
  times = (traits.frames // tubelet,) if tubelet else ()
  grid, positioned = (*times, *(sides or (224 // patch, 224 // patch))), 0
  sides = grid if times else sides
  if n.positions:
    entries = shapes.get(n.positions, (0, 0))[-2]
    grid, positioned = family.grid_of(entries, traits.positioned, sides)
  first = n.block.format(0)
  down = family.shape_of(shapes, f'{first}{n.down}.weight', 2)
  up = family.shape_of(shapes, f'{first}{n.up[-1]}.weight', 2)
  gated = len(n.up) == 2 or up[0] == 2 * down[1]
  biases = [f'.{n.block.split("{}.")[-1]}{name}' for name in _biases(n)]
  return ViT(
      patch=patch,
      width=width,
      depth=family.depth_of(shapes, n.block, '.'),
      heads=family.heads_of(width, traits.heads, traits.heads_by_width),
      hidden=down[1],
      grid=grid,
      prefix=tokens,
      position='learned' if n.positions else traits.fixed,
      resize=traits.resize,
      rope_base=traits.rope_base,
      activation=traits.activation,
      gated=gated,
      qkv_bias=any(name.endswith(tuple(biases)) for name in shapes),
      layer_scale=bool(n.scales),
      pre_norm=bool(n.pre_norm),
      eps=traits.eps,
      tubelet=tubelet,
  ), positioned


def rows_of(shapes, n: Names, vit: ViT, positioned: int) -> list[Row]:
  """Every parameter of `vit` and the tensors it comes from."""
  d, p = vit.width, vit.patch
  flat = len(shapes[f'{n.patches}.weight']) == 2
  weight = (d, p * p * 3) if flat else (d, 3, *vit.tile)
  rows = [Row('embed/patches/kernel', {f'{n.patches}.weight': weight},
              np.transpose if flat else _convolution)]
  rows.append(_bias(
      'embed/patches', (f'{n.patches}.bias' * n.patch_bias,), d))
  table = {n.positions: (*shapes.get(n.positions, (0, 0))[:-1], d)}
  if vit.prefix:
    sources = {token: (*shapes.get(token, (0,))[:-1], d) for token in n.tokens}
    sources |= table if positioned else {}
    rows.append(Row('prefix', sources, functools.partial(
        _prefix, width=d, positioned=positioned)))
  if n.positions:
    rows.append(Row(
        'positions', table, lambda x: x.reshape(-1, d)[positioned:]))
  if n.pre_norm:
    rows += _norm('pre_norm', n.pre_norm, d)
  for layer in range(vit.depth):
    rows += _block(f'block_{layer}/', n.block.format(layer), n, vit)
  return rows + _norm('norm', n.norm, d)


def _block(to: str, start: str, n: Names, vit: ViT) -> list[Row]:
  d, hidden = vit.width, vit.hidden
  qkv = tuple(start + name for name in n.qkv)
  up = tuple(start + name for name in n.up)
  rows = [
      *_norm(f'{to}norm1', start + n.norm1, d),
      *_norm(f'{to}norm2', start + n.norm2, d),
      _kernel(f'{to}attention/qkv', qkv, d, 3 * d),
      _kernel(f'{to}attention/out', (start + n.out,), d, d),
      _bias(f'{to}attention/out', (f'{start}{n.out}.bias',), d),
      _kernel(f'{to}mlp/up', up, d, hidden * (1 + vit.gated)),
      _bias(f'{to}mlp/up', [f'{name}.bias' for name in up],
            hidden * (1 + vit.gated)),
      _kernel(f'{to}mlp/down', (start + n.down,), hidden, d),
      _bias(f'{to}mlp/down', (f'{start}{n.down}.bias',), d),
  ]
  if vit.qkv_bias:
    rows.append(_bias(
        f'{to}attention/qkv', [b and start + b for b in _biases(n)], 3 * d))
  for i, scale in enumerate(n.scales, 1):
    rows.append(Row(f'{to}scale{i}/scale', {start + scale: (d,)}, np.asarray))
  return rows


def _biases(n: Names) -> tuple[str, ...]:
  """Of queries, keys and values, or of all three; '' for keys without."""
  names = n.qkv_biases or tuple(f'{name}.bias' for name in n.qkv)
  return names if n.key_bias else (names[0], '', names[2])


def _count(shapes, token, width):
  return max(1, int(np.prod(shapes.get(token, (width,)))) // width)


def _norm(to: str, name: str, width: int) -> list[Row]:
  return [Row(f'{to}/scale', {f'{name}.weight': (width,)}, np.asarray),
          Row(f'{to}/bias', {f'{name}.bias': (width,)}, np.asarray)]


def _kernel(to, names, n_in, n_out) -> Row:
  """Linear layers side by side, (out, in) each, to one (in, all outs)."""
  sources = {f'{name}.weight': (n_out // len(names), n_in) for name in names}
  return Row(f'{to}/kernel', sources,
             lambda *w: np.concatenate([x.T for x in w], axis=1))


def _bias(to, names, size) -> Row:
  """These biases in one; zeros for '', of a layer made without."""
  part = size // len(names)
  sources = {name: (part,) for name in names if name}

  def make(*biases):
    parts = iter(biases)
    zeros = np.zeros(part, biases[0].dtype if biases else np.float32)
    return np.concatenate([next(parts) if name else zeros for name in names])

  return Row(f'{to}/bias', sources, make)


def _convolution(weight: np.ndarray) -> np.ndarray:
  """(out, channel, [time,] row, column) to ([time x] row x column x channel,
  out).
  """
  return np.moveaxis(weight, (1, 0), (-2, -1)).reshape(-1, len(weight))


def _prefix(*arrays, width, positioned):
  """Tokens in order, the positions of the first ones added in."""
  if not positioned:
    return np.concatenate([x.reshape(-1, width) for x in arrays])
  *tokens, table = arrays
  prefix = np.concatenate([x.reshape(-1, width) for x in tokens])
  dtype, prefix = prefix.dtype, prefix.astype(np.float32)
  prefix[:positioned] += table.reshape(-1, width)[:positioned]
  return prefix.astype(dtype)
