"""The vision towers of Hugging Face's CLIP, SigLIP and SigLIP 2."""

import functools

from lst.backbones.families import family, hugging_face
from lst.backbones.families.family import Family, Given, Reading
from lst.backbones.families.torch_vit import Names, Traits

_SIGLIP = Names(
    patches='embeddings.patch_embedding',
    positions='embeddings.position_embedding.weight',
    block='encoder.layers.{}.',
    norm1='layer_norm1',
    qkv=('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'),
    out='self_attn.out_proj',
    norm2='layer_norm2',
    up=('mlp.fc1',),
    down='mlp.fc2',
    norm='post_layernorm',
)
_CLIP = _SIGLIP._replace(
    tokens=('embeddings.class_embedding',),
    pre_norm='pre_layrnorm',  # so it is spelt in the files
    patch_bias=False,
)

_MARKS = ('embeddings.patch_embedding.weight', 'post_layernorm.weight')
_IGNORED = (
    r'text_model\..*',
    r'head\..*',
    r'logit_(scale|bias)',
    r'(visual|text)_projection\.weight',
    r'embeddings\.position_ids',
    r'classifier\..*',
)

CLIP = Family(
    'hf_clip', (*_MARKS, 'embeddings.class_embedding'), _IGNORED,
    functools.partial(
        hugging_face.read, names=_CLIP, norm=family.CLIP,
        traits=Traits(
            activation='quick_gelu', eps=1e-5, positioned=(1,),
            heads_by_width={1280: 16, 1408: 16, 1664: 16})))


def _read_siglip(shapes, given: Given) -> Reading:
  # SigLIP 2 at one resolution is a SigLIP; NaFlex has a linear layer over
  # flattened patches, and bilinear positions.
  flat = len(shapes[_MARKS[0]]) == 2
  traits = Traits(
      activation='gelu_tanh', cls=False, heads_by_width={1152: 16, 1536: 16},
      resize='bilinear_antialias' if flat else 'bicubic')
  return hugging_face.read(shapes, given, names=_SIGLIP, traits=traits)


SIGLIP = Family('hf_siglip', _MARKS, _IGNORED, _read_siglip)
