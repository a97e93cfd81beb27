"""`.npz` files of the original ViT, AugReg, Scenic and big_vision.

Blocks stand one by one or stacked (`nn.scan`); positions are with the CLS
token's among them or without, or a 2-D table (NaFlex); names are those of
Linen or older. All have GELU in its tanh form and inputs in [-1, 1].
"""

import functools

import numpy as np

from lst.backbones.families import family
from lst.backbones.families.family import Family, Given, Reading, Row
from lst.backbones.vit import ViT

_POSITIONS = (
    'pos_embedding',
    'Transformer/pos_embedding',
    'Transformer/posembed_input/pos_embedding',
)
_STACKED, _SINGLE = 'Transformer/encoderblock/', 'Transformer/encoderblock_{}/'

# (first norm, attention, second norm, MLP, its two layers) of a block.
_LINEN = ('LayerNorm_0', 'MultiHeadDotProductAttention_0', 'LayerNorm_1',
          'MlpBlock_0', 'Dense_0', 'Dense_1')
_OLDER = ('LayerNorm_0', 'MultiHeadDotProductAttention_1', 'LayerNorm_2',
          'MlpBlock_3', 'Dense_0', 'Dense_1')

_MARKS = ('embedding/kernel', 'Transformer/encoder_norm/scale')
_IGNORED = (
    r'(head|pre_logits|output_projection)/.*',
    r'MAPHead_0/.*',
    r'(.*/)?txt/.*',  # of a two-tower model
    r'(.*/)?[tb]',
    r'opt/state/.*',
)


def _read(shapes, given: Given) -> Reading:
  del given
  stacked = any(name.startswith(_STACKED) for name in shapes)
  older = any('/MlpBlock_3/' in name for name in shapes)
  parts = _OLDER if older else _LINEN
  first = _STACKED if stacked else _SINGLE.format(0)
  query = family.shape_of(
      shapes, f'{first}{parts[1]}/query/kernel', 3 + stacked)
  up = family.shape_of(shapes, f'{first}{parts[3]}/Dense_0/kernel', 2 + stacked)
  kernel = shapes['embedding/kernel']
  patch = kernel[0] if len(kernel) == 4 else round((kernel[0] / 3) ** 0.5)
  positions = next((name for name in _POSITIONS if name in shapes), None)
  if positions is None:
    raise ValueError(
        f'missing (1): positions, under one of {", ".join(_POSITIONS)} (a '
        "model made with posemb='sincos2d' has none, and is not loaded)")
  grid, positioned, resize = _grid(shapes, positions)
  vit = ViT(
      patch=patch, width=query[-3], heads=query[-2], hidden=up[-1],
      depth=query[0] if stacked else family.depth_of(
          shapes, _SINGLE, '/'),
      grid=grid, prefix=int('cls' in shapes), resize=resize,
      activation='gelu_tanh', eps=1e-6)
  place = functools.partial(_place, stacked=stacked, depth=vit.depth)
  rows = _ends(shapes, positions, positioned, vit)
  rows += [place(row, layer) for layer in range(vit.depth)
           for row in block_rows(layer, parts, vit)]
  size = (grid[0] * patch, grid[1] * patch)
  return Reading(vit, rows, 'cls' in shapes, size, *family.HALF)


def _grid(shapes, positions):
  table = shapes[positions]
  if table[0] > 1:  # (rows, columns, D)
    return table[:2], 0, 'bilinear_antialias'
  grid, positioned = family.grid_of(
      table[1], (0, 1) if 'cls' in shapes else (0,), None)
  return grid, positioned, 'bilinear_corners'


def _ends(shapes, positions, positioned, vit: ViT) -> list[Row]:
  """What comes before and after the blocks."""
  d, p = vit.width, vit.patch
  flat = len(shapes['embedding/kernel']) == 2
  kernel = (p * p * 3, d) if flat else (p, p, 3, d)
  table = {positions: (*shapes[positions][:-1], d)}
  rows = [
      Row('embed/patches/kernel', {'embedding/kernel': kernel},
          lambda x: x.reshape(-1, d)),
      Row('embed/patches/bias', {'embedding/bias': (d,)}, np.asarray),
      Row('positions', table, lambda x: x.reshape(-1, d)[positioned:]),
      *norm_rows('norm', 'Transformer/encoder_norm', d),
  ]
  if vit.prefix:
    rows.append(Row(
        'prefix', {'cls': (1, 1, d)} | (table if positioned else {}),
        lambda cls, *p: cls[0] + (p[0][0, :1] if p else 0)))
  return rows


def norm_rows(to: str, name: str, d: int) -> list[Row]:
  """Of a layer norm over `d` channels."""
  return [Row(f'{to}/{x}', {f'{name}/{x}': (d,)}, np.asarray)
          for x in ('scale', 'bias')]


def block_rows(layer: int, parts: tuple[str, ...], vit: ViT) -> list[Row]:
  """Of a block of a ViT in Flax, tensors named as they are below it.

  Args:
    layer: its number.
    parts: names of the first norm, attention, the second norm, the MLP and its
      two layers.
    vit: the model.
  """
  norm1, attention, norm2, mlp, *dense = parts
  d, hidden, heads = vit.width, vit.hidden, (vit.heads, vit.width // vit.heads)
  to = f'block_{layer}'
  qkv = [f'{attention}/{name}' for name in ('query', 'key', 'value')]
  rows = [
      *norm_rows(f'{to}/norm1', norm1, d),
      *norm_rows(f'{to}/norm2', norm2, d),
      Row(f'{to}/attention/qkv/kernel',
          {f'{name}/kernel': (d, *heads) for name in qkv},
          lambda *x: np.concatenate([w.reshape(d, d) for w in x], 1)),
      Row(f'{to}/attention/qkv/bias', {f'{name}/bias': heads for name in qkv},
          lambda *x: np.concatenate([b.reshape(d) for b in x])),
      Row(f'{to}/attention/out/kernel',
          {f'{attention}/out/kernel': (*heads, d)}, lambda x: x.reshape(d, d)),
      Row(f'{to}/attention/out/bias', {f'{attention}/out/bias': (d,)},
          np.asarray),
  ]
  shapes = {'up': (d, hidden), 'down': (hidden, d)}
  for (name, shape), inner in zip(shapes.items(), dense, strict=True):
    source = f'{mlp}/{inner}'
    rows += [
        Row(f'{to}/mlp/{name}/kernel', {f'{source}/kernel': shape}, np.asarray),
        Row(f'{to}/mlp/{name}/bias', {f'{source}/bias': shape[1:]}, np.asarray)]
  return rows


def _place(row: Row, layer, stacked, depth) -> Row:
  """The same row with its tensors found in the block's place in the file."""
  if not stacked:
    start = _SINGLE.format(layer)
    return row._replace(
        sources={start + name: shape for name, shape in row.sources.items()})
  return row._replace(
      sources={_STACKED + k: (depth, *s) for k, s in row.sources.items()},
      make=lambda *x: row.make(*(array[layer] for array in x)))


FLAX = Family('flax_vit', _MARKS, _IGNORED, _read)
