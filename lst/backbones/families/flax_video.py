"""`.npz` files of 4DS (Carreira et al., "Scaling 4D representations", 2024).

As its authors' release has them, of the backbone alone or with a readout. The
model ends without a norm, and every readout of theirs begins with a layer norm
of its own: so the final norm here has unit scales. Inputs are in [0, 1], GELU
in its tanh form. Positions are learned for one grid; to resample them to
another, linearly in time, rows and columns, is ours.
"""

import numpy as np

from lst.backbones.families import family, flax_vit
from lst.backbones.families.family import Family, Given, Reading, Row
from lst.backbones.vit import ViT

_PATCHES = 'encoder/patch_embedding/Conv_0'
_POSITIONS = 'encoder/posenc/embeddings'
_BLOCK = 'processor/layers_{}/'
_PARTS = ('attention_norm', 'attention', 'mlp_norm', 'mlp', 'dense_in',
          'dense_out')
# Of inputs that are given in [0, 1].
_AS_GIVEN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _read(shapes, given: Given) -> Reading:
  del given
  first = _BLOCK.format(0)
  query = family.shape_of(shapes, f'{first}attention/query/kernel', 3)
  up = family.shape_of(shapes, f'{first}mlp/dense_in/kernel', 2)
  kernel = family.shape_of(shapes, f'{_PATCHES}/kernel', 5)
  table = family.shape_of(shapes, _POSITIONS, 4)
  vit = ViT(
      patch=kernel[1], tubelet=kernel[0], width=query[0], heads=query[1],
      hidden=up[1], depth=family.depth_of(shapes, _BLOCK, '/'),
      grid=table[:3], prefix=0, resize='bilinear', activation='gelu_tanh')
  d = vit.width
  rows = [
      Row('embed/patches/kernel', {f'{_PATCHES}/kernel': (*vit.tile, 3, d)},
          lambda x: x.reshape(-1, d)),
      Row('embed/patches/bias', {f'{_PATCHES}/bias': (d,)}, np.asarray),
      Row('positions', {_POSITIONS: (*vit.grid, d)},
          lambda x: x.reshape(-1, d)),
      Row('norm/scale', {}, lambda: np.ones(d, np.float32)),
      Row('norm/bias', {}, lambda: np.zeros(d, np.float32)),
  ]
  for layer in range(vit.depth):
    start = _BLOCK.format(layer)
    rows += [
        row._replace(sources={start + k: s for k, s in row.sources.items()})
        for row in flax_vit.block_rows(layer, _PARTS, vit)]
  size = tuple(n * vit.patch for n in vit.grid[1:])
  return Reading(vit, rows, False, size, *_AS_GIVEN)


FOUR_DS = Family(
    '4ds', (f'{_PATCHES}/kernel', f'{_BLOCK.format(0)}attention/query/kernel'),
    (r'params/layers_[12]/.*',), _read)
