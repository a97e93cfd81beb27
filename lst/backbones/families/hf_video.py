"""Hugging Face's models of clips: VideoMAE, V-JEPA 2's encoder and ViViT."""

import functools

from lst.backbones.families import family, hf_vit, hugging_face
from lst.backbones.families.family import Family, Given, Reading
from lst.backbones.families.torch_vit import Names, Traits

# Of a convolution over time, rows and columns.
_RANK = 5

_VIDEOMAE = hf_vit.NAMES._replace(tokens=(), positions='', key_bias=False)
_ATTENTION = 'attention.attention.'
# As files of transformers 4 have them; those of 5 are below `qkv`.
_OLDER = (f'{_ATTENTION}q_bias', '', f'{_ATTENTION}v_bias')
# Fine-tuned models have their last norm behind the mean over tokens.
_POOLED = 'fc_norm'


def _read_videomae(shapes, given: Given) -> Reading:
  names, pooled = _VIDEOMAE, f'{_POOLED}.weight' in shapes
  if any(name.endswith(_OLDER[0]) for name in shapes):
    names = names._replace(qkv_biases=_OLDER)
  if pooled:
    names = names._replace(norm=_POOLED)
  reading = hugging_face.read(
      shapes, given, names=names, norm=family.IMAGENET,
      traits=Traits(
          eps=1e-12, fixed='sincos', frames=16, cls=False,
          heads_by_width={1280: 16}))
  return reading._replace(norm_eps=1e-5) if pooled else reading


VIDEOMAE = Family(
    'hf_videomae', hf_vit.MARKS,
    (r'encoder_to_decoder\.weight', r'mask_token', r'decoder\..*',
     r'classifier\..*'),
    _read_videomae, _RANK)

VIVIT = Family(
    'hf_vivit', (*hf_vit.MARKS, 'embeddings.cls_token'),
    (r'pooler\..*', r'classifier\..*'),
    functools.partial(
        hugging_face.read, names=hf_vit.NAMES,
        traits=Traits(
            activation='gelu_tanh', positioned=(1,), frames=32,
            sides=(224, 224), resize='bilinear')),
    _RANK)

_VJEPA2 = Names(
    patches='encoder.embeddings.patch_embeddings.proj',
    block='encoder.layer.{}.',
    norm1='norm1',
    qkv=('attention.query', 'attention.key', 'attention.value'),
    out='attention.proj',
    norm2='norm2',
    up=('mlp.fc1',),
    down='mlp.fc2',
    norm='encoder.layernorm',
)

VJEPA2 = Family(
    'hf_vjepa2',
    ('encoder.embeddings.patch_embeddings.proj.weight',
     'encoder.layer.0.attention.proj.weight'),
    (r'predictor\..*', r'pooler\..*', r'classifier\..*'),
    functools.partial(
        hugging_face.read, names=_VJEPA2, norm=family.IMAGENET,
        traits=Traits(
            fixed='rotary_3d', rope_base=1e4, sides=(256, 256), frames=64,
            cls=False, heads_by_width={1280: 16})),
    _RANK)
