"""Small models of clips: of transformers, V-JEPA 2's own code, and of 4DS.

4DS is imported from checkouts of representations4d and of kauldron, which it
is made of; what these import besides to train and to log is stood in for.
V-JEPA 2's own code, from a checkout, takes images that are not square, which
that of transformers does not.
"""

import functools
import importlib
import pathlib
import sys
from unittest import mock

import jax
import numpy as np

from experiments.parity.make_golden import (
    CLIP_SIZES,
    DEPTH,
    FRAMES,
    HEADS,
    HIDDEN,
    PATCH,
    SIDE,
    TUBELET,
    VIDEO,
    WIDTH,
    Reference,
    random_like,
)
from experiments.parity.torch_models import randomise, states_of

CODEBASES = ('kauldron', 'representations4d', 'vjepa2')
_STAND_INS = ('clu', 'clu.data', 'clu.data.dataset_iterator', 'pandas',
              'skimage', 'skimage.color', 'tensorflow')

_FIELDS = {
    'hidden_size': WIDTH, 'num_hidden_layers': DEPTH,
    'num_attention_heads': HEADS, 'intermediate_size': HIDDEN,
}
_DECODER = {
    'decoder_hidden_size': 8, 'decoder_num_hidden_layers': 1,
    'decoder_num_attention_heads': 1, 'decoder_intermediate_size': 8,
}
# Heads of 20 channels: three frequencies of each axis, two channels left over.
_JEPA_WIDTH, _JEPA_HEADS = 40, 2
_JEPA = {
    'hidden_size': _JEPA_WIDTH, 'num_attention_heads': _JEPA_HEADS,
    'num_hidden_layers': DEPTH, 'mlp_ratio': 1.5, 'patch_size': PATCH,
    'tubelet_size': TUBELET, 'frames_per_clip': FRAMES, 'pred_hidden_size': 12,
    'pred_num_attention_heads': 1, 'pred_num_hidden_layers': 1,
    'pred_num_mask_tokens': 1, 'num_pooler_layers': 1,
}


def cases(folders: dict[str, pathlib.Path | None]) -> dict:
  """The cases that can be made, given the folders of these codebases."""
  there = [name for name in CODEBASES if folders.get(name)]
  sys.path[:0] = [str(folders[name]) for name in there]
  found = dict(_CASES)
  found['hf_vjepa2'] = functools.partial(vjepa2, 'vjepa2' in there)
  if {'kauldron', 'representations4d'} <= set(there):
    found['4ds'] = four_ds
  return {f'{VIDEO}{name}': make for name, make in found.items()}


def videomae(stem, **fields):
  """VideoMAE of transformers, whose size is part of its config.

  Args:
    stem: of the model class.
    **fields: of the config.
  """
  import transformers

  def make(frames, *sides):
    config = transformers.VideoMAEConfig(
        image_size=sides, num_frames=frames, patch_size=PATCH,
        tubelet_size=TUBELET, **_FIELDS, **_DECODER, **fields)
    return getattr(transformers, f'VideoMAEFor{stem}')(config).eval()

  model = make(*CLIP_SIZES['native'])
  randomise(model)

  def states(clip):
    other = make(*clip.shape[1:4])
    other.load_state_dict(model.state_dict())
    tower = other.videomae
    return states_of(tower, tower, clip, getattr(other, 'fc_norm', None))

  return Reference(model.save_pretrained, states)


def vivit():
  """ViViT of transformers, at its own size: it resizes positions of images."""
  import transformers
  model = transformers.VivitModel(transformers.VivitConfig(
      image_size=SIDE, num_frames=FRAMES, tubelet_size=[TUBELET, PATCH, PATCH],
      **_FIELDS))
  randomise(model)

  def states(clip):
    if clip.shape[1:4] != CLIP_SIZES['native']:
      return None
    return states_of(model, model, clip)

  return Reference(model.save_pretrained, states)


def vjepa2(original: bool):
  """V-JEPA 2 of transformers.

  Args:
    original: whether its own code is there, for what is not square; it is then
      also compared on a square.
  """
  import transformers

  def make(side):
    return transformers.VJEPA2Model(
        transformers.VJEPA2Config(crop_size=side, **_JEPA)).eval()

  model = make(SIDE)
  randomise(model)

  def states(clip):
    height, width = clip.shape[2:4]
    if height != width:
      return _vjepa2_states(model.state_dict(), clip) if original else None
    other = make(height)
    other.load_state_dict(model.state_dict())
    found = states_of(
        other.encoder, lambda x: other.encoder(pixel_values_videos=x), clip)
    if original:
      theirs = _vjepa2_states(model.state_dict(), clip)
      np.testing.assert_allclose(theirs, found, rtol=1e-4, atol=1e-4)
    return found

  return Reference(model.save_pretrained, states)


def _vjepa2_states(weights: dict, clip: np.ndarray) -> list[np.ndarray]:
  """Of V-JEPA 2's own code, with the weights of transformers' model."""
  import timm.layers
  import torch
  sys.modules.setdefault('timm.models.layers', timm.layers)
  code = importlib.import_module('src.models.vision_transformer')
  model = code.VisionTransformer(
      img_size=SIDE, patch_size=PATCH, num_frames=FRAMES, tubelet_size=TUBELET,
      embed_dim=_JEPA_WIDTH, depth=DEPTH, num_heads=_JEPA_HEADS, mlp_ratio=1.5,
      norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6), use_rope=True,
      use_sdpa=False).eval()
  state = {}
  for name, x in weights.items():
    if name.startswith('encoder.') and not any(
        part in name for part in ('.query.', '.key.', '.value.')):
      name = name.removeprefix('encoder.').replace('layer.', 'blocks.')
      name = name.replace('embeddings.patch_embeddings', 'patch_embed')
      name = name.replace('attention.proj', 'attn.proj')
      state[name.replace('layernorm', 'norm')] = x
  for layer in range(DEPTH):
    for kind in ('weight', 'bias'):
      start = f'encoder.layer.{layer}.attention.'
      state[f'blocks.{layer}.attn.qkv.{kind}'] = torch.cat([
          weights[f'{start}{name}.{kind}'] for name in (
              'query', 'key', 'value')])
  model.load_state_dict(state)
  return states_of(model, lambda x: model(x.transpose(1, 2)), clip)


def _four_ds_model():
  """Of the same small size as the others, as its own code builds it."""
  absent = [name for name in _STAND_INS if name not in sys.modules]
  sys.modules.update({name: mock.MagicMock() for name in absent})
  library = importlib.import_module('representations4d.models.model')
  embeddings = importlib.import_module('kauldron.modules.pos_embeddings')
  for name in absent:  # Others ask whether they are there.
    del sys.modules[name]
  return library.Model(
      encoder=library.Tokenizer(
          patch_embedding=library.PatchEmbedding(
              patch_size=(TUBELET, PATCH, PATCH), num_features=WIDTH),
          posenc=embeddings.LearnedEmbedding()),
      processor=library.GeneralizedTransformer.from_spec(
          num_heads=HEADS, num_layers=DEPTH, mlp_size=HIDDEN))


def four_ds():
  """4DS, which takes one size; the norm behind it has no parameters."""
  import flax.linen as nn
  import flax.traverse_util
  model = _four_ds_model()
  native = np.zeros((1, *CLIP_SIZES['native'], 3), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), native)
  flat = flax.traverse_util.flatten_dict(dict(shapes), sep='/')
  flat = {name: random_like(name, x.shape) for name, x in flat.items()}
  params = flax.traverse_util.unflatten_dict(flat, sep='/')

  def states(clip):
    if clip.shape[1:4] != CLIP_SIZES['native']:
      return None
    kept, outputs = [], []

    def keep(call, args, kwargs, context):
      result = call(*args, **kwargs)
      if isinstance(context.module, nn.LayerNorm):
        kept.append(args[0])
      elif type(context.module).__name__ == 'PreNormBlock':
        outputs.append(result)
      return result

    with nn.intercept_methods(keep):
      model.apply(params, clip)
    normed = nn.LayerNorm(use_scale=False, use_bias=False).apply(
        {}, outputs[-1])
    every = (*kept, outputs[-1], normed)
    return [np.asarray(x).reshape(-1, WIDTH) for x in every]

  return Reference(
      lambda folder: np.savez(folder / 'weights.npz', **flat), states)


_CASES = {
    'hf_videomae': functools.partial(
        videomae, 'PreTraining', use_mean_pooling=False),
    'hf_videomae_finetuned': functools.partial(
        videomae, 'VideoClassification'),
    'hf_vivit': vivit,
}
