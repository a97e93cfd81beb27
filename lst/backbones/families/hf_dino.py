"""Hugging Face's DINOv2, with and without registers, and DINOv3."""

from lst.backbones.families import family, hugging_face
from lst.backbones.families.family import Family, Given, Reading
from lst.backbones.families.torch_vit import Names, Traits

_PLAIN = Names(
    patches='embeddings.patch_embeddings.projection',
    tokens=('embeddings.cls_token',),
    positions='embeddings.position_embeddings',
    block='encoder.layer.{}.',
    norm1='norm1',
    qkv=('attention.attention.query', 'attention.attention.key',
         'attention.attention.value'),
    out='attention.output.dense',
    scales=('layer_scale1.lambda1', 'layer_scale2.lambda1'),
    norm2='norm2',
    up=('mlp.fc1',),
    down='mlp.fc2',
    norm='layernorm',
)
_GATED = {'up': ('mlp.weights_in',), 'down': 'mlp.weights_out'}

_MARKS = (
    'embeddings.patch_embeddings.projection.weight',
    'encoder.layer.0.layer_scale1.lambda1',
)
_REGISTERS = ('embeddings.cls_token', 'embeddings.register_tokens')
_IGNORED = (r'embeddings\.mask_token', r'classifier\..*')
_TRAITS = Traits(positioned=(1,))
# The antialiasing is what the two differ in at other sizes.
_TRAITS_REGISTERS = _TRAITS._replace(resize='bicubic_antialias')


def _either(name, marks, names, traits) -> Family:
  """One family for both kinds of MLP; ViT-g's is SwiGLU."""
  plain, gated = (
      hugging_face.family_of(name, marks, _IGNORED, n, t, family.IMAGENET)
      for n, t in ((names, traits),
                   (names._replace(**_GATED), traits._replace(
                       activation='silu'))))

  def read(shapes, given: Given) -> Reading:
    is_gated = any('.mlp.weights_in.' in name for name in shapes)
    return (gated if is_gated else plain).read(shapes, given)

  return Family(name, marks, _IGNORED, read)


DINOV2 = _either('hf_dinov2', _MARKS, _PLAIN, _TRAITS)

DINOV2_REGISTERS = _either(
    'hf_dinov2_registers', (*_MARKS, 'embeddings.register_tokens'),
    _PLAIN._replace(tokens=_REGISTERS), _TRAITS_REGISTERS)


_V3 = Names(
    patches='embeddings.patch_embeddings',
    tokens=_REGISTERS,
    block='layer.{}.',
    norm1='norm1',
    qkv=('attention.q_proj', 'attention.k_proj', 'attention.v_proj'),
    out='attention.o_proj',
    scales=('layer_scale1.lambda1', 'layer_scale2.lambda1'),
    norm2='norm2',
    up=('mlp.up_proj',),
    down='mlp.down_proj',
    norm='norm',
    key_bias=False,
)
_V3_MARKS = ('embeddings.patch_embeddings.weight',)


def _read_v3(shapes, given: Given) -> Reading:
  block = 'model.layer.{}.' if 'model.layer.0.norm1.weight' in shapes else (
      'layer.{}.')
  names = _V3._replace(
      block=block,
      key_bias=any(name.endswith('.k_proj.bias') for name in shapes))
  traits = Traits(eps=1e-5)
  if any('.mlp.gate_proj.' in name for name in shapes):
    names = names._replace(up=('mlp.gate_proj', 'mlp.up_proj'))
    traits = traits._replace(activation='silu')
  return hugging_face.family_of(
      'hf_dinov3', _V3_MARKS, _IGNORED, names, traits, family.IMAGENET,
  ).read(shapes, given)


DINOV3 = Family('hf_dinov3', _V3_MARKS, _IGNORED, _read_v3)
