"""This project's own format: the canonical tree, and the model in metadata."""

import functools
import json

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from lst.backbones.families.family import Family, Given, Reading, Row
from lst.backbones.vit import ViT

_MARKS = ('embed/patches/kernel', 'block_0/attention/qkv/kernel')
_FIELDS = ('vit', 'image_size', 'mean', 'std', 'cls')


def shapes_of(vit: ViT) -> dict[str, tuple[int, ...]]:
  """{'block_0/mlp/up/kernel': shape, ...} of every parameter of a model."""
  # All blocks are as the first one.
  tree = dict(_shapes(vit.clone(depth=min(vit.depth, 1))))
  block = tree.pop('block_0', None)
  blocks = {f'block_{k}': block for k in range(vit.depth)}
  return flax.traverse_util.flatten_dict(blocks | tree, sep='/')


@functools.lru_cache(maxsize=64)
def _shapes(vit: ViT) -> dict:
  tree = jax.eval_shape(lambda: vit.init(
      jax.random.key(0), jnp.zeros((1, *vit.tile, 3)))['params'])
  return jax.tree.map(lambda leaf: leaf.shape, tree)


def metadata_of(
    vit: ViT, name: str, image_size, mean, std, cls: bool
) -> dict[str, str]:
  """What to put in the metadata of a safetensors file of `vit`'s parameters."""
  fields = {k: getattr(vit, k) for k in vit.__dataclass_fields__
            if k not in ('dtype', 'parent', 'name')}
  values = {'vit': fields, 'image_size': image_size, 'mean': mean, 'std': std,
            'cls': cls}
  return {'format': 'lst', 'name': name,
          **{k: json.dumps(v) for k, v in values.items()}}


def _read(shapes, given: Given) -> Reading:
  del shapes
  lacking = [name for name in _FIELDS if name not in given.metadata]
  if lacking:
    raise ValueError(f'the metadata lacks {", ".join(lacking)}')
  values = {name: json.loads(given.metadata[name]) for name in _FIELDS}
  fields = {k: tuple(v) if isinstance(v, list) else v
            for k, v in values.pop('vit').items() if k != 'dtype'}
  vit = ViT(**fields)
  rows = [Row(name, {name: shape}, np.asarray)
          for name, shape in shapes_of(vit).items()]
  size, mean, std = (tuple(values[k]) for k in ('image_size', 'mean', 'std'))
  return Reading(vit, rows, values['cls'], size, mean, std)


OWN = Family('lst', _MARKS, (), _read)
