"""Hugging Face's DINOv2, with and without registers, and DINOv3."""

import functools

from lst.backbones.families import family, hugging_face
from lst.backbones.families.family import Family, Given, Reading
from lst.backbones.families.torch_vit import Names, Traits

_V2 = Names(
    patches='embeddings.patch_embeddings.projection',
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
# ViT-g has SwiGLU.
_GATED = {'up': ('mlp.weights_in',), 'down': 'mlp.weights_out'}

_MARKS = (
    'embeddings.patch_embeddings.projection.weight',
    'encoder.layer.0.layer_scale1.lambda1',
)
_REGISTERS = ('embeddings.cls_token', 'embeddings.register_tokens')
_IGNORED = (r'embeddings\.mask_token', r'classifier\..*')


def _read_v2(shapes, given: Given, *, tokens, resize) -> Reading:
  gated = any('.mlp.weights_in.' in name for name in shapes)
  return hugging_face.read(
      shapes, given, norm=family.IMAGENET,
      names=_V2._replace(tokens=tokens, **(_GATED if gated else {})),
      traits=Traits(positioned=(1,), resize=resize,
                    activation='silu' if gated else 'gelu'))


DINOV2 = Family('hf_dinov2', _MARKS, _IGNORED, functools.partial(
    _read_v2, tokens=_REGISTERS[:1], resize='bicubic'))

# At other sizes the two differ in more than the registers.
DINOV2_REGISTERS = Family(
    'hf_dinov2_registers', (*_MARKS, _REGISTERS[1]), _IGNORED,
    functools.partial(
        _read_v2, tokens=_REGISTERS, resize='bicubic_antialias'))


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
  gated = any('.mlp.gate_proj.' in name for name in shapes)
  names = _V3._replace(
      block=block,
      up=('mlp.gate_proj', 'mlp.up_proj') if gated else ('mlp.up_proj',),
      key_bias=any(name.endswith('.k_proj.bias') for name in shapes))
  traits = Traits(eps=1e-5, activation='silu' if gated else 'gelu')
  return hugging_face.read(
      shapes, given, names=names, traits=traits, norm=family.IMAGENET)


DINOV3 = Family('hf_dinov3', _V3_MARKS, _IGNORED, _read_v3)
