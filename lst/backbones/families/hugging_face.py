"""What Hugging Face's `config.json` and `preprocessor_config.json` tell."""

from lst.backbones.families import family, torch_vit
from lst.backbones.families.family import Given, Reading

ACTIVATIONS = {
    'gelu': 'gelu',
    'gelu_fast': 'gelu_tanh',
    'gelu_new': 'gelu_tanh',
    'gelu_pytorch_tanh': 'gelu_tanh',
    'quick_gelu': 'quick_gelu',
    'silu': 'silu',
    'swish': 'silu',
}


def read(
    shapes: dict,
    given: Given,
    *,
    names: torch_vit.Names,
    traits: torch_vit.Traits,
    norm: tuple = family.HALF,
) -> Reading:
  """What a file with these names holds.

  `traits` and `norm` (mean, std) hold where there is no config, and for the
  fields that one leaves at the default of its model class.
  """
  traits = _declared(given.config, traits)
  vit, positioned = torch_vit.vit_of(shapes, names, traits)
  pre = given.preprocessor
  return Reading(
      vit=vit,
      rows=torch_vit.rows_of(shapes, names, vit, positioned),
      cls=traits.cls,
      image_size=_image_size(pre, vit),
      mean=tuple(pre.get('image_mean') or norm[0]),
      std=tuple(pre.get('image_std') or norm[1]),
  )


def _declared(config: dict, traits: torch_vit.Traits) -> torch_vit.Traits:
  config = config.get('vision_config', config)
  activation = config.get('hidden_act')
  if activation and activation not in ACTIVATIONS:
    raise ValueError(
        f'config.json: hidden_act {activation!r} is none of '
        f'{", ".join(ACTIVATIONS)}')
  # DINOv2's gated MLP is SwiGLU whatever `hidden_act` says.
  gated = config.get('use_swiglu_ffn')
  size = config.get('image_size') or config.get('crop_size')
  found = {
      'heads': config.get('num_attention_heads'),
      'activation': 'silu' if gated else ACTIVATIONS.get(activation),
      'eps': config.get('layer_norm_eps'),
      'rope_base': config.get('rope_theta'),
      'sides': family.pair(size) if size else None,
      'frames': config.get('num_frames') or config.get('frames_per_clip'),
  }
  return traits._replace(**{k: v for k, v in found.items() if v is not None})


def _image_size(preprocessor: dict, vit) -> tuple[int, int]:
  """The pixels that the preprocessor makes, or those of the position grid."""
  crop = preprocessor.get('do_center_crop', 'crop_size' in preprocessor)
  size = preprocessor.get('crop_size' if crop else 'size')
  if isinstance(size, dict):
    edge = size.get('shortest_edge')
    size = (size.get('height', edge), size.get('width', edge))
  if not size or None in family.pair(size):
    size = tuple(n * vit.patch for n in vit.grid[-2:])
  # What is left over at the edges, a convolution drops.
  return tuple(n // vit.patch * vit.patch for n in family.pair(size))
