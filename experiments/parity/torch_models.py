"""Small models of transformers and timm, and their states by forward hooks."""

import functools
import json
import pathlib

import numpy as np

from experiments.parity.make_golden import (
    DEPTH,
    HEADS,
    HIDDEN,
    PATCH,
    SIDE,
    WIDTH,
    Reference,
    random_like,
)

_HF = {
    'hidden_size': WIDTH, 'num_hidden_layers': DEPTH, 'image_size': SIDE,
    'num_attention_heads': HEADS, 'patch_size': PATCH,
}
_MLP = {'intermediate_size': HIDDEN}
_TEXT = {
    'hidden_size': WIDTH, 'num_hidden_layers': 1, 'num_attention_heads': 2,
    'intermediate_size': 8, 'vocab_size': 12, 'max_position_embeddings': 4,
    'bos_token_id': 0, 'eos_token_id': 1, 'pad_token_id': 2,
}
_TIMM = {
    'img_size': SIDE, 'patch_size': PATCH, 'embed_dim': WIDTH, 'depth': DEPTH,
    'num_heads': HEADS, 'mlp_ratio': HIDDEN / WIDTH, 'num_classes': 2,
    'dynamic_img_size': True,
}

_ACTIVATIONS = {'GELU': 'gelu', 'GELUTanh': 'gelu_tanh', 'SiLU': 'silu',
                'QuickGELU': 'quick_gelu'}

_NORM2 = ('layernorm_after', 'layer_norm2', 'norm2')
_FINAL = ('layernorm', 'post_layernorm', 'norm', 'fc_norm')


def randomise(model) -> None:
  """Sets every parameter of a PyTorch model to random numbers."""
  import torch
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      weights = random_like(name, tuple(parameter.shape))
      parameter.copy_(torch.from_numpy(weights))
  model.eval()


def _find(module, names):
  from torch import nn
  found = (getattr(module, name, None) for name in names)
  return next(m for m in found if isinstance(m, nn.Module)
              and not isinstance(m, nn.Identity))


def _blocks(tower):
  """The list of blocks, wherever it hangs."""
  from torch import nn
  return next(m for m in tower.modules()
              if isinstance(m, nn.ModuleList | nn.Sequential)
              and len(m) == DEPTH
              and (hasattr(m[0], 'mlp') or hasattr(m[0], 'intermediate')))


def states_of(tower, call, image: np.ndarray, final=None) -> list[np.ndarray]:
  """Inputs of the first block and of each second norm, outputs of blocks.

  Args:
    tower: the model.
    call: what runs it on an input with channels ahead of rows and columns.
    image: (1, [T,] H, W, 3).
    final: its last norm, where that is no part of it.
  """
  import torch
  blocks, kept, hooks = _blocks(tower), {}, []

  def before(k, _, args, kwargs):
    kept[k] = args[0] if args else kwargs['hidden_states']

  def after(k, _, args, output):
    kept[k] = output[0] if isinstance(output, tuple) else output

  part = functools.partial
  hooks.append(blocks[0].register_forward_pre_hook(
      part(before, 0), with_kwargs=True))
  for i, block in enumerate(blocks):
    hooks.append(_find(block, _NORM2).register_forward_pre_hook(
        part(before, 2 * i + 1), with_kwargs=True))
    hooks.append(block.register_forward_hook(part(after, 2 * i + 2)))
  with torch.no_grad():
    call(torch.from_numpy(np.moveaxis(image, -1, -3).copy()))
    final = final or _find(tower, _FINAL)
    kept[2 * DEPTH + 1] = final(kept[2 * DEPTH])
  for hook in hooks:
    hook.remove()
  return [kept[k].reshape(-1, kept[k].shape[-1]).numpy() for k in sorted(kept)]


def hugging_face(name, *, tower='', shard='1GB', preprocessor=None, **fields):
  """A model of transformers by the stem of its class, as `save_pretrained`.

  Args:
    name: (model class, config class).
    tower: attribute that holds the vision tower of a two-tower model.
    shard: the size at which files are split.
    preprocessor: contents of `preprocessor_config.json`.
    **fields: of the config.
  """
  import inspect

  import transformers
  model = getattr(transformers, name[0])(
      getattr(transformers, name[1])(**fields))
  randomise(model)
  vision = getattr(model, tower) if tower else model
  takes = inspect.signature(vision.forward).parameters
  extra = {'interpolate_pos_encoding': True} if (
      'interpolate_pos_encoding' in takes) else {}
  call = lambda x: vision(x, **extra)  # noqa: E731
  if 'spatial_shapes' in takes:
    call = functools.partial(_naflex, vision)

  def save(folder: pathlib.Path) -> None:
    model.save_pretrained(folder, max_shard_size=shard)
    if preprocessor:
      path = folder / 'preprocessor_config.json'
      path.write_text(json.dumps(preprocessor))

  return Reference(save, functools.partial(states_of, vision, call))


def _naflex(vision, x):
  """One image as the list of flattened patches that NaFlex models take."""
  import torch
  _, _, height, width = x.shape
  rows, columns = height // PATCH, width // PATCH
  patches = x.reshape(3, rows, PATCH, columns, PATCH).permute(1, 3, 2, 4, 0)
  vision(
      pixel_values=patches.reshape(1, rows * columns, -1),
      pixel_attention_mask=torch.ones(1, rows * columns, dtype=torch.int64),
      spatial_shapes=torch.tensor([[rows, columns]]))


def timm_model(name, **fields):
  """A model of timm by its name, in the files of a timm repository."""
  import timm
  from timm.models import _hub
  model = timm.create_model(name, **{**_TIMM, **fields})
  randomise(model)

  def save(folder: pathlib.Path) -> None:
    _hub.save_for_hf(model, folder, safe_serialization=True)

  return Reference(
      save, functools.partial(states_of, model, model.forward_features))


def timm_architectures() -> dict[str, list]:
  """{name: [width, heads, activation, eps, pre-norm, gated]} of timm's ViTs.

  Of those whose blocks are the plain ones and norms are layer norms, which are
  the ones that can be loaded.
  """
  import timm
  import torch
  from timm.layers import GluMlp, Mlp
  from timm.models import vision_transformer as vt
  found = {}
  for module in ('vision_transformer', 'deit'):
    for name in timm.list_models(module=module):
      with torch.device('meta'):
        model = timm.create_model(name)
      block = model.blocks[0]
      if type(block) is not vt.Block or type(block.mlp) not in (Mlp, GluMlp):
        continue
      names = {k for k, _ in model.named_parameters()}
      plain = 'blocks.0.norm1.bias' in names and (
          'pos_embed' in names and 'blocks.0.attn.norm.weight' not in names)
      if plain and not any('.mlp.norm' in k or 'q_norm' in k for k in names):
        found[name] = [
            model.embed_dim, block.attn.num_heads,
            _ACTIVATIONS[type(block.mlp.act).__name__], block.norm1.eps,
            'norm_pre.weight' in names, type(block.mlp) is GluMlp]
  return found


def _two(model, config):
  return (f'{model}Model', f'{config}Config')


def _both(**extra):
  return {'vision_config': {**_HF, **_MLP}, 'text_config': {**_TEXT, **extra}}


_P = functools.partial
_DINO = {**_HF, 'mlp_ratio': 2}
_V3 = {**_HF, **_MLP, 'num_register_tokens': 2}
_CROP = {'do_center_crop': True, 'crop_size': {'height': SIDE, 'width': SIDE},
         'size': {'shortest_edge': 20}, 'image_mean': [0.1, 0.2, 0.3],
         'image_std': [0.4, 0.5, 0.6]}

CASES = {
    'hf_vit': _P(
        hugging_face, ('ViTForImageClassification', 'ViTConfig'), tower='vit',
        **_HF, **_MLP, preprocessor=_CROP),
    'hf_vit_sharded': _P(
        hugging_face, _two('ViT', 'ViT'), shard='20KB', qkv_bias=False, **_HF,
        **_MLP),
    'hf_deit': _P(hugging_face, _two('DeiT', 'DeiT'), **_HF, **_MLP),
    'hf_dinov2': _P(hugging_face, _two('Dinov2', 'Dinov2'), **_DINO),
    'hf_dinov2_swiglu': _P(
        hugging_face, _two('Dinov2', 'Dinov2'), use_swiglu_ffn=True, **_DINO),
    'hf_dinov2_registers': _P(
        hugging_face, _two('Dinov2WithRegisters', 'Dinov2WithRegisters'),
        num_register_tokens=2, **_DINO),
    'hf_dinov3': _P(hugging_face, _two('DINOv3ViT', 'DINOv3ViT'), **_V3),
    'hf_dinov3_swiglu': _P(
        hugging_face, _two('DINOv3ViT', 'DINOv3ViT'), use_gated_mlp=True,
        hidden_act='silu', query_bias=False, value_bias=False, **_V3),
    'hf_clip': _P(
        hugging_face, _two('CLIPVision', 'CLIPVision'), **_HF, **_MLP),
    'hf_clip_both_towers': _P(
        hugging_face, _two('CLIP', 'CLIP'), tower='vision_model',
        projection_dim=8, **_both()),
    'hf_siglip': _P(
        hugging_face, _two('SiglipVision', 'SiglipVision'), **_HF, **_MLP),
    'hf_siglip_both_towers': _P(
        hugging_face, _two('Siglip', 'Siglip'), tower='vision_model',
        **_both(projection_size=WIDTH)),
    'hf_siglip2_naflex': _P(
        hugging_face, _two('Siglip2Vision', 'Siglip2Vision'), num_patches=16,
        **{k: v for k, v in _HF.items() if k != 'image_size'}, **_MLP),
    'timm_augreg': _P(timm_model, 'vit_base_patch16_224'),
    'timm_deit_distilled': _P(timm_model, 'deit_base_distilled_patch16_224'),
    'timm_deit3': _P(timm_model, 'deit3_small_patch16_224'),
    'timm_registers_fc_norm': _P(
        timm_model, 'vit_medium_patch16_reg4_gap_256', fc_norm=True),
    'timm_dinov2': _P(timm_model, 'vit_base_patch14_dinov2'),
    'timm_dinov2_registers_swiglu': _P(
        timm_model, 'vit_giant_patch14_reg4_dinov2', mlp_ratio=4),
    'timm_clip': _P(timm_model, 'vit_base_patch16_clip_quickgelu_224'),
    'timm_siglip': _P(timm_model, 'vit_so400m_patch16_siglip_256'),
}
