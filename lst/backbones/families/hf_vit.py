"""Hugging Face's ViT (and ViT-MAE's encoder) and DeiT."""

import functools

from lst.backbones.families import family, hugging_face
from lst.backbones.families.family import Family
from lst.backbones.families.torch_vit import Names, Traits

NAMES = Names(
    patches='embeddings.patch_embeddings.projection',
    tokens=('embeddings.cls_token',),
    positions='embeddings.position_embeddings',
    block='encoder.layer.{}.',
    norm1='layernorm_before',
    qkv=('attention.attention.query', 'attention.attention.key',
         'attention.attention.value'),
    out='attention.output.dense',
    norm2='layernorm_after',
    up=('intermediate.dense',),
    down='output.dense',
    norm='layernorm',
)

MARKS = (
    'embeddings.patch_embeddings.projection.weight',
    'encoder.layer.0.layernorm_before.weight',
)

_IGNORED = (
    r'pooler\..*',
    r'classifier\..*',
    r'(cls|distillation)_classifier\..*',
    r'embeddings\.mask_token',
    r'decoder\..*',
)

VIT = Family('hf_vit', MARKS, _IGNORED, functools.partial(
    hugging_face.read, names=NAMES,
    traits=Traits(eps=1e-12, positioned=(1,), heads_by_width={1280: 16})))

_DISTILLED = 'embeddings.distillation_token'
DEIT = Family('hf_deit', (*MARKS, _DISTILLED), _IGNORED, functools.partial(
    hugging_face.read,
    names=NAMES._replace(tokens=('embeddings.cls_token', _DISTILLED)),
    traits=Traits(eps=1e-12, positioned=(2,)), norm=family.IMAGENET))
