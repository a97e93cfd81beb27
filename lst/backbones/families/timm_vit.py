"""timm's `VisionTransformer`, and the many models exported under its names.

Among them AugReg, DeiT and DeiT-3, DINO, MAE, and DINOv2, CLIP and SigLIP as
timm holds them. What shapes do not tell (activation, heads, image statistics)
stands in the `config.json` of a timm repository: its `architecture`,
`model_args` and `pretrained_cfg`.
"""

import re

from lst.backbones.families import family, torch_vit
from lst.backbones.families.family import Family, Given, Reading
from lst.backbones.families.torch_vit import Names, Traits

_NAMES = Names(
    patches='patch_embed.proj',
    positions='pos_embed',
    block='blocks.{}.',
    norm1='norm1',
    qkv=('attn.qkv',),
    out='attn.proj',
    norm2='norm2',
    up=('mlp.fc1',),
    down='mlp.fc2',
    norm='norm',
)
_TOKENS = ('cls_token', 'dist_token', 'reg_token')

_MARKS = ('patch_embed.proj.weight', 'blocks.0.attn.qkv.weight')
_IGNORED = (
    r'head(_dist)?\..*',
    r'attn_pool\..*',
    r'mask_token',
    r'decoder.*',
)

# What the code of an architecture sets: (pattern of its name, activation).
ACTIVATIONS = (
    (r'quickgelu', 'quick_gelu'),
    (r'(giantopt|so400m)_patch16_siglip', 'gelu_tanh'),
    (r'large_patch16_siglip(_gap)?_512', 'gelu_tanh'),
    (r'base_patch32_siglip', 'gelu_tanh'),
    (r'giant_patch14_(reg\d_)?(dinov2|tipsv2)', 'silu'),
)
# Where heads are not of 64 channels: (pattern of its name, number of them).
HEADS = (
    (r'giantopt|base_patch16_gap_224', 16),
    (r'test_vit3', 3),
    (r'test_vit', 2),
)
_ARGUMENTS = {
    'gelu': 'gelu', 'gelu_tanh': 'gelu_tanh', 'quick_gelu': 'quick_gelu',
    'silu': 'silu', 'swish': 'silu',
}
_HEADS_BY_WIDTH = {1152: 16, 1280: 16, 1408: 16, 1664: 16}


def _names(shapes, given: Given) -> Names:
  """timm's names with the parts that this file has, or its config asks for."""
  declared = {
      'cls_token': given.config.get('global_pool') == 'token',
      'dist_token': 'distilled' in given.config.get('architecture', ''),
      'reg_token': re.search(r'_reg\d', given.config.get('architecture', '')),
  }
  names = _NAMES._replace(tokens=tuple(
      token for token in _TOKENS if token in shapes or declared[token]))
  if 'blocks.0.ls1.gamma' in shapes:
    names = names._replace(scales=('ls1.gamma', 'ls2.gamma'))
  if 'norm_pre.weight' in shapes:
    names = names._replace(pre_norm='norm_pre', patch_bias=False)
  # A norm after pooling; it is the final norm here, ahead of the pooling.
  if 'fc_norm.weight' in shapes:
    names = names._replace(norm='fc_norm')
  return names


def traits_of(shapes, given: Given) -> Traits:
  """What a config, and some names, tell beyond the shapes."""
  config = given.config
  name = config.get('architecture', '')
  arguments = config.get('model_args', {})
  usual = 'silu' if _gated(shapes) else 'gelu'
  activation = _by_name(ACTIVATIONS, name) or usual
  if 'act_layer' in arguments:
    activation = _ARGUMENTS.get(str(arguments['act_layer']).lower())
    if activation is None:
      raise ValueError(
          f'config.json: act_layer {arguments["act_layer"]!r} is none of '
          f'{", ".join(_ARGUMENTS)}')
  size = arguments.get('img_size') or _settings(given).get(
      'input_size', (None,))[1:]
  prefix = sum(shapes[t][-2] for t in _TOKENS if t in shapes)
  return Traits(
      heads=arguments.get('num_heads') or _by_name(HEADS, name),
      heads_by_width=_HEADS_BY_WIDTH,
      activation=activation,
      eps=1e-5 if 'norm_pre.weight' in shapes else 1e-6,
      resize='bicubic_antialias',
      positioned=(0,) if arguments.get('no_embed_class') else (prefix, 0),
      sides=family.pair(size) if size else None,
      cls='cls_token' in shapes,
  )


def _by_name(table, name: str):
  """The value of the first pattern found in a name, or None."""
  return next((x for pattern, x in table if re.search(pattern, name)), None)


def _gated(shapes) -> bool:
  down = shapes.get('blocks.0.mlp.fc2.weight', (0, 0))
  return shapes.get('blocks.0.mlp.fc1.weight', (0,))[0] == 2 * down[-1]


def _settings(given: Given) -> dict:
  return given.config.get('pretrained_cfg', given.config)


def _usual_norm(shapes):
  """CLIP's with a pre-norm, ImageNet's for DeiT and DINOv2, else a half."""
  if 'norm_pre.weight' in shapes:
    return family.CLIP
  if 'blocks.0.ls1.gamma' in shapes or 'dist_token' in shapes:
    return family.IMAGENET
  return family.HALF


def _read(shapes, given: Given) -> Reading:
  names, traits = _names(shapes, given), traits_of(shapes, given)
  vit, positioned = torch_vit.vit_of(shapes, names, traits)
  settings, norm = _settings(given), _usual_norm(shapes)
  size = traits.sides or tuple(n * vit.patch for n in vit.grid)
  return Reading(
      vit=vit,
      rows=torch_vit.rows_of(shapes, names, vit, positioned),
      cls=traits.cls,
      image_size=tuple(n // vit.patch * vit.patch for n in size),
      mean=tuple(settings.get('mean') or norm[0]),
      std=tuple(settings.get('std') or norm[1]),
  )


TIMM = Family('timm_vit', _MARKS, _IGNORED, _read)
