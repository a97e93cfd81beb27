"""The shapes of vision transformers by name, for random weights."""

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

# What a size has beyond them.
EXTRAS: dict[str, dict] = {
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


def preset(name: str, image_size: int | tuple[int, int] = 224, **fields) -> ViT:
  """A model of a known shape, to be initialised with random weights.

  Args:
    name: size and patch, as in 'B/16', 'e/14' or 'dinov3_7b/16' (`SIZES`).
    image_size: of the images its positions are for; one number for a square.
    **fields: of `ViT`, over those of the preset.

  Raises:
    ValueError: an unknown size, or an image that the patch does not divide.

  >>> preset('B/16').grid, preset('Ti/8', image_size=(64, 32)).grid
  ((14, 14), (8, 4))
  """
  size, _, patch = name.partition('/')
  if size not in SIZES or not patch.isdigit():
    raise ValueError(
        f'{name!r} is no preset: write SIZE/PATCH, as in B/16, with a size of '
        f'{", ".join(SIZES)}')
  width, depth, hidden, heads = SIZES[size]
  if isinstance(image_size, int):
    image_size = (image_size, image_size)
  vit = ViT(**{
      'patch': int(patch), 'width': width, 'depth': depth, 'heads': heads,
      'hidden': hidden, 'grid': (1, 1), **EXTRAS.get(size, {}), **fields})
  return vit if 'grid' in fields else vit.clone(grid=vit.grid_of(*image_size))
