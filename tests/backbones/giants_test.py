"""Backbones of billions of parameters, as shapes: against what is published."""

import collections
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst.backbones import loading
from lst.backbones.families import FAMILIES, own
from lst.backbones.families.family import Given
from lst.backbones.presets import preset
from tests.backbones.loading_test import GOLDEN


def count(vit):
  """Parameters of a model; of its blocks one alone is looked at."""
  def of(depth):
    tree = jax.eval_shape(
        vit.clone(depth=depth).init, jax.random.key(0),
        jnp.zeros((1, *vit.tile, 3)))
    return sum(leaf.size for leaf in jax.tree.leaves(tree))

  return of(0) + vit.depth * (of(1) - of(0))


# The parameters of the image encoders, and where that is published. Those of
# ViT-g, G and e, InternViT and EVA-CLIP were not looked up again.
PUBLISHED = {
    # "Scaling vision transformers" (Zhai et al., 2022): 1,011M and 1,843M;
    # ViT-e 3.9 billion with its heads (PaLI, Chen et al., 2023).
    'g/14': (1011e6, 1e-3), 'G/14': (1843e6, 1e-3), 'e/14': (3.9e9, 0.03),
    # The model card of DINOv3: 6,716M. The file on the hub has 6,716,035,072,
    # of which 4,096 are a token for masks that only its training used.
    'dinov3_7b/16': (6_716_035_072 - 4096, 0),
    # "InternVL" (Chen et al., 2024): 5,903M.
    'internvit_6b/14': (5903e6, 1e-3),
    # "EVA-CLIP-18B" (Sun et al., 2024): an image encoder of 17.5 billion.
    'eva_clip_18b/14': (17.5e9, 0.01),
    # The list of checkpoints of google-deepmind/representations4d: ViT-B 88M,
    # ViT-e 3.8 billion, in a file of 14 GB in f32.
    '4ds_B/16x2': (88e6, 0.01), '4ds_e/16x2': (3.8e9, 3e-3),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_preset_has_as_many_parameters_as_is_published(name):
  total, near = PUBLISHED[name]
  assert count(preset(name)) == pytest.approx(total, rel=near or 1e-12)


@pytest.mark.parametrize('name', ['g/14', 'G/14', 'e/14'])
def test_of_clips_a_giant_has_but_more_patches_and_positions(name):
  image, clip = preset(name), preset(f'{name}x2', frames=16)
  assert (clip.tile, clip.grid) == ((2, 14, 14), (8, 16, 16))
  patches = 14 * 14 * 3 * image.width
  assert count(clip) - count(image) == patches + 7 * 256 * image.width


def four_ds(size, patch=(2, 16, 16), grid=(8, 14, 14)):
  """{name: shape} of every tensor of a release of 4DS.

  Args:
    size: (width, blocks, channels in the MLP, heads).
    patch, grid: frames or times, rows, columns.
  """
  d, depth, hidden, heads = size
  split = (heads, d // heads)
  shapes = {
      'encoder/patch_embedding/Conv_0/kernel': (*patch, 3, d),
      'encoder/patch_embedding/Conv_0/bias': (d,),
      'encoder/posenc/embeddings': (*grid, d)}
  for layer in range(depth):
    block = f'processor/layers_{layer}/'
    for part in ('query', 'key', 'value'):
      shapes[f'{block}attention/{part}/kernel'] = (d, *split)
      shapes[f'{block}attention/{part}/bias'] = split
    shapes[f'{block}attention/out/kernel'] = (*split, d)
    shapes[f'{block}mlp/dense_in/kernel'] = (d, hidden)
    shapes[f'{block}mlp/dense_in/bias'] = (hidden,)
    shapes[f'{block}mlp/dense_out/kernel'] = (hidden, d)
    for name in ('attention/out/bias', 'mlp/dense_out/bias',
                 'attention_norm/scale', 'attention_norm/bias',
                 'mlp_norm/scale', 'mlp_norm/bias'):
      shapes[block + name] = (d,)
  return shapes


def test_the_names_are_those_of_a_file():
  """The golden one, written by the authors' own code at a small size."""
  path = next((GOLDEN / 'video_4ds').glob('*.npz'))
  with np.load(path) as file:
    there = {name.removeprefix('params/'): file[name].shape
             for name in file.files}
  depth = len({name.split('/')[1] for name in there if 'layers_' in name})
  assert four_ds((24, depth, 40, 3), (2, 4, 4), (2, 4, 4)) == there


def test_4ds_e_is_our_model():
  shapes = four_ds((1792, 56, 15360, 16))
  family, root = loading.recognise(shapes, '4DS-e')
  reading = family.read(shapes, Given({}, {}, {}))
  assert (family.name, root, family in FAMILIES) == ('4ds', '', True)
  loading.match(shapes, reading, family)
  assert reading.vit == preset('4ds_e/16x2')
  # Each of our weights takes the elements of tensors of the file, all of them.
  ours = own.shapes_of(reading.vit.clone(depth=1))
  blocks = collections.Counter()
  for row in reading.rows:
    first = row.to
    if first.startswith('block_'):
      block, _, rest = row.to.partition('/')
      first = f'block_0/{rest}'
      blocks[block] += 1
    # The final norm is not in the file: it has unit scales.
    if row.sources:
      assert math.prod(ours[first]) == sum(map(math.prod, row.sources.values()))
  assert set(blocks.values()) == {sum(k.startswith('block_') for k in ours)}
  assert len(blocks) == 56
  total = sum(map(math.prod, shapes.values()))
  assert total == count(reading.vit) - 2 * 1792
