"""The shapes of vision transformers by name, for random weights."""

import re

from lst.backbones.vit import ViT

# name: (width, depth, MLP, heads), "Scaling Vision Transformers", table 2,
# and big_vision for e and so400m.
SIZES: dict[str, tuple[int, int, int, int]] = {
    'Ti': (192, 12, 768, 3),
    'S': (384, 12, 1536, 6),
    'B': (768, 12, 3072, 12),
    'L': (1024, 24, 4096, 16),
    'so400m': (1152, 27, 4304, 16),
    'H': (1280, 32, 5120, 16),
    'g': (1408, 40, 6144, 16),
    'G': (1664, 48, 8192, 16),
    'e': (1792, 56, 15360, 16),
    'dinov3_7b': (4096, 40, 8192, 32),
    # Shapes alone: their norms are RMS norms, of queries and keys as well in
    # InternViT, and have a weight less a channel than ours.
    'internvit_6b': (3200, 48, 12800, 25),
    'eva_clip_18b': (5120, 48, 25600, 40),
}

# Of clips, and the size that each has: 4DS up to its largest public model, of
# 3.8 billion; V-JEPA 2's g has other heads.
_CLIPS = {
    '4ds': ('B', 'L', 'H', 'G', 'e'), 'videomae': ('S', 'B', 'L', 'H'),
    'vjepa2': ('L', 'H', 'g'), 'vivit': ('B',),
}
SIZES |= {f'{name}_{size}': SIZES[size]
          for name, sizes in _CLIPS.items() for size in sizes}
SIZES['vjepa2_g'] = (1408, 40, 6144, 22)
_OF_CLIPS = {
    '4ds': {'prefix': 0, 'activation': 'gelu_tanh'},
    'videomae': {'prefix': 0, 'position': 'sincos', 'eps': 1e-12},
    'vjepa2': {'prefix': 0, 'position': 'rotary_3d', 'rope_base': 1e4},
    'vivit': {'activation': 'gelu_tanh'},
}

# What a size has beyond them.
EXTRAS: dict[str, dict] = {
    **{f'{name}_{size}': {'tubelet': 2, 'resize': 'bilinear', **_OF_CLIPS[name]}
       for name, sizes in _CLIPS.items() for size in sizes},
    # Without a CLS token, as in big_vision.
    'G': {'prefix': 0},
    'e': {'prefix': 0},
    'dinov3_7b': {
        'prefix': 5, 'position': 'rotary', 'activation': 'silu', 'gated': True,
        'qkv_bias': False, 'layer_scale': True, 'eps': 1e-5,
    },
    'internvit_6b': {'qkv_bias': False, 'layer_scale': True},
    'eva_clip_18b': {'qkv_bias': False},
}


def preset(
    name: str, image_size: int | tuple[int, int] = 224, frames: int = 16,
    **fields,
) -> ViT:
  """A model of a known shape, to be initialised with random weights.

  Args:
    name: size and patch, as in 'B/16', 'e/14' or 'dinov3_7b/16' (`SIZES`), or
      of clips with the frames that a token spans, as in '4ds_e/16x2'; where
      the size is one of clips alone, 2 by default.
    image_size: of the images its positions are for; one number for a square.
    frames: of the clips, likewise.
    **fields: of `ViT`, over those of the preset.

  Raises:
    ValueError: an unknown size, or an image that the patch does not divide.

  >>> preset('B/16').grid, preset('Ti/8', image_size=(64, 32)).grid
  ((14, 14), (8, 4))
  """
  match = re.fullmatch(r'(\w+)/(\d+)(?:x(\d+))?', name)
  if not match or match[1] not in SIZES:
    raise ValueError(
        f'{name!r} is no preset: write SIZE/PATCH or SIZE/PATCHxFRAMES, as in '
        f'B/16 and 4ds_B/16x2, with a size of {", ".join(SIZES)}')
  size, patch = match[1], match[2]
  width, depth, hidden, heads = SIZES[size]
  if match[3]:
    fields = {'tubelet': int(match[3]), **fields}
  if isinstance(image_size, int):
    image_size = (image_size, image_size)
  vit = ViT(**{
      'patch': int(patch), 'width': width, 'depth': depth, 'heads': heads,
      'hidden': hidden, 'grid': (1, 1), **EXTRAS.get(size, {}), **fields})
  if 'grid' in fields:
    return vit
  return vit.clone(
      grid=vit.grid_of(*image_size, frames if vit.tubelet else 0))
