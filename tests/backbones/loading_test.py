"""Loading is strict both ways, and says what is wrong."""

import json
import pathlib
import re
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lst.backbones.families import hf_clip, own, torch_vit
from lst.backbones.loading import load
from lst.backbones.presets import preset

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
# One case of each family.
TORCH = ('hf_vit', 'hf_deit', 'hf_dinov2', 'hf_dinov2_registers', 'hf_dinov3',
         'hf_clip', 'hf_siglip', 'timm_augreg', 'timm_clip',
         'video_hf_videomae', 'video_hf_vivit', 'video_hf_vjepa2')
FLAX = ('vision_transformer_token', 'scenic_token', 'big_vision_token',
        'big_vision_siglip_scan', 'big_vision_naflex', 'video_4ds')


def change(case, tmp_path, edit):
  """A copy of a case whose tensors went through `edit` in place."""
  folder = tmp_path / case
  shutil.copytree(GOLDEN / case, folder, dirs_exist_ok=True)
  npz = folder / 'weights.npz'
  if npz.exists():
    with np.load(npz, allow_pickle=False) as file:
      arrays = dict(file)
    edit(arrays)
    np.savez(npz, **arrays)
  else:
    arrays = load_file(folder / 'model.safetensors')
    edit(arrays)
    save_file(arrays, folder / 'model.safetensors')
  return folder


def one_of(names):
  """A tensor of block 1, and so of no use in telling the model's shape."""
  return next(name for name in sorted(names) if name.endswith((
      'layer.1.norm2.weight', 'layer.1.layernorm_after.weight',
      'layers.1.layer_norm2.weight', 'blocks.1.norm2.weight',
      'encoderblock_1/LayerNorm_0/scale', 'encoderblock/LayerNorm_0/scale',
      'layers_1/mlp_norm/scale')))


@pytest.mark.parametrize('case', TORCH + FLAX)
def test_a_missing_tensor_is_listed(case, tmp_path):
  gone = []

  def edit(arrays):
    gone.append(one_of(arrays))
    del arrays[gone[0]]

  with pytest.raises(ValueError, match=r'missing \(1\)') as caught:
    load(change(case, tmp_path, edit))
  name = gone[0].removeprefix('params/').removeprefix('img/')
  assert re.sub(r'^(vit|vivit|videomae)\.', '', name) in str(caught.value)
  assert 'unexpected' not in str(caught.value)


@pytest.mark.parametrize('case', TORCH + FLAX)
def test_an_unexpected_tensor_is_listed(case, tmp_path):
  extra = {'blocks.0.gate': np.ones(3, np.float32)}
  folder = change(case, tmp_path, lambda arrays: arrays.update(extra))
  with pytest.raises(
      ValueError, match=r'unexpected \(1\):\n  blocks.0.gate \(3,\)'):
    load(folder)


@pytest.mark.parametrize('case', TORCH + FLAX)
def test_a_misshaped_tensor_is_listed_with_both_shapes(case, tmp_path):
  shapes = []

  def edit(arrays):
    name = one_of(arrays)
    before, arrays[name] = arrays[name], arrays[name][..., :7]
    shapes.extend([arrays[name].shape, before.shape])

  with pytest.raises(ValueError, match=r'mis-shaped \(1\)') as caught:
    load(change(case, tmp_path, edit))
  assert '{} in the file, the model needs {}'.format(*shapes) in str(
      caught.value)


@pytest.mark.parametrize('case', ['hf_vit', 'hf_dinov3', 'timm_deit3',
                                  'big_vision_token'])
def test_no_tensor_can_be_missing_unnoticed(case, tmp_path):
  names, ignored = [], ('head', 'classifier', 'mask_token', 'pre_logits')
  change(case, tmp_path, lambda arrays: names.extend(arrays))
  for name in names:
    folder = change(case, tmp_path, lambda arrays, name=name: arrays.pop(name))
    if any(part in name for part in ignored):
      load(folder)
    elif name == 'cls':
      # What is left is a model that pools, down to the last tensor.
      assert not load(folder).cls
    else:
      with pytest.raises(ValueError, match=r'missing|no family|positions'):
        load(folder)


def test_all_kinds_are_in_one_error_and_long_lists_are_cut(tmp_path):
  def edit(arrays):
    arrays['vit.layernorm.weight'] = np.ones((2, 2), np.float32)
    del arrays['vit.layernorm.bias']
    for i in range(50):
      arrays[f'adapter.{i}'] = np.ones(1, np.float32)

  with pytest.raises(ValueError, match='mis-shaped') as caught:
    load(change('hf_vit', tmp_path, edit))
  message = str(caught.value)
  for part in ('missing (1)', 'unexpected (50)', '... and 30 more',
               'mis-shaped (1)', '(2, 2) in the file, the model needs (24,)',
               "below 'vit.'", 'family hf_vit', str(tmp_path)):
    assert part in message


@pytest.mark.parametrize('case, names', [
    ('big_vision_siglip_scan', [
        'params/txt/Encoder_0/encoder_norm/bias', 'params/t', 'params/b']),
    ('hf_clip_both_towers', ['text_model.extra', 'logit_bias']),
    ('hf_vit', ['vit.pooler.dense.weight', 'decoder.mask_token']),
    ('timm_siglip', ['attn_pool.extra', 'head.weight']),
    ('vision_transformer_gap', ['pre_logits/kernel']),
    ('video_hf_videomae_finetuned', ['decoder.norm.weight', 'mask_token']),
    ('video_hf_vivit', ['classifier.bias']),
    ('video_hf_vjepa2', ['pooler.query_tokens', 'classifier.weight']),
])
def test_other_towers_and_heads_are_left_alone(case, names, tmp_path):
  extra = {name: np.ones(3, np.float32) for name in names}
  load(change(case, tmp_path, lambda arrays: arrays.update(extra)))


def test_4ds_comes_with_a_readout_or_without(tmp_path):
  def edit(arrays):
    for name in list(arrays):
      arrays[name.replace('params/', 'params/layers_0/')] = arrays.pop(name)
    arrays['params/layers_2/query'] = np.ones((4, 2), np.float32)

  found = load(change('video_4ds', tmp_path, edit)).params
  wanted = load(GOLDEN / 'video_4ds').params
  for name in ('norm', 'embed', 'block_1'):
    jax.tree.map(np.testing.assert_array_equal, found[name], wanted[name])
  # It ends without a norm: that of the features has no parameters.
  assert set(np.unique(found['norm']['scale'])) == {1.0}


def test_videomae_is_read_as_either_version_of_its_library_saves_it(tmp_path):
  names = []

  def edit(arrays):
    for name in list(arrays):
      new = name
      for layer, old in (('query.bias', 'q_bias'), ('value.bias', 'v_bias')):
        pair = (layer, old) if name.endswith(layer) else (old, layer)
        new = new.replace(*pair) if name.endswith(pair[0]) else new
      arrays[new] = arrays.pop(name)
      names.append((name, new))

  found = load(change('video_hf_videomae', tmp_path, edit)).params
  assert sum(new != old for old, new in names) >= 4
  jax.tree.map(np.testing.assert_array_equal, found,
               load(GOLDEN / 'video_hf_videomae').params)


def test_positions_of_clips_need_a_config(tmp_path):
  folder = change('video_hf_vivit', tmp_path, lambda arrays: None)
  (folder / 'config.json').write_text(json.dumps({'num_attention_heads': 3}))
  with pytest.raises(ValueError, match=r'33 positions .*number of frames'):
    load(folder)


def test_a_config_in_use_on_the_hub_may_say_next_to_nothing(tmp_path):
  """SigLIP's, for one, names its model type and leaves the rest out."""
  vit = preset('B/16', depth=1, prefix=0)
  shapes = {'embeddings.patch_embedding.weight': (768, 3, 16, 16),
            'embeddings.position_embedding.weight': (196, 768)}
  rows = torch_vit.rows_of(shapes, hf_clip._SIGLIP, vit, 0)
  save_file({f'vision_model.{name}': np.zeros(shape, np.float16)
             for row in rows for name, shape in row.sources.items()},
            tmp_path / 'model.safetensors')
  (tmp_path / 'config.json').write_text(json.dumps({
      'model_type': 'siglip', 'vision_config': {'model_type': 'siglip_v'}}))
  (tmp_path / 'preprocessor_config.json').write_text(json.dumps({
      'size': 230, 'image_mean': [0.1, 0.2, 0.3]}))
  found = load(tmp_path)
  assert found.vit == vit.clone(activation='gelu_tanh')
  # Whole patches of 16 in 230 pixels, as its convolution takes them.
  assert found.image_size == (224, 224)
  assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))


def test_unused_tensors_need_not_be_floats(tmp_path):
  ids = {'embeddings.position_ids': np.arange(17)}
  load(change('hf_clip', tmp_path, lambda arrays: arrays.update(ids)))


def test_quantised_weights_are_refused(tmp_path):
  def edit(arrays):
    arrays['cls_token'] = arrays['cls_token'].astype(np.int8)

  with pytest.raises(ValueError, match='cls_token holds int8'):
    load(change('timm_augreg', tmp_path, edit))


def test_no_config_and_an_unusual_width_ask_for_the_config(tmp_path):
  folder = change('hf_deit', tmp_path, lambda arrays: None)
  (folder / 'config.json').unlink()
  with pytest.raises(ValueError, match=r'heads for a width of 24.*config.json'):
    load(folder)


def test_an_activation_that_is_not_there(tmp_path):
  folder = change('hf_vit', tmp_path, lambda arrays: None)
  config = json.loads((folder / 'config.json').read_text())
  (folder / 'config.json').write_text(json.dumps(
      config | {'hidden_act': 'relu'}))
  with pytest.raises(ValueError, match="hidden_act 'relu' is none of gelu"):
    load(folder)


def test_a_file_of_no_family_shows_its_names(tmp_path):
  save_file({'conv1.weight': np.ones((2, 3), np.float32)},
            tmp_path / 'resnet.safetensors')
  with pytest.raises(ValueError, match=r'no family') as caught:
    load(tmp_path / 'resnet.safetensors')
  assert 'conv1.weight (2, 3)' in str(caught.value)
  assert 'timm_vit: patch_embed.proj.weight' in str(caught.value)


def test_two_models_in_one_file(tmp_path):
  def edit(arrays):
    for name in list(arrays):
      arrays[f'teacher.{name}'] = arrays[name].copy()

  with pytest.raises(ValueError, match=r"2 models .* '', 'teacher.'"):
    load(change('timm_augreg', tmp_path, edit))


def test_bfloat16_stays_as_it_is_stored(tmp_path):
  def edit(arrays):
    for name in arrays:
      arrays[name] = arrays[name].astype(ml_dtypes.bfloat16)

  for case in ('timm_augreg', 'big_vision_token'):
    found = load(change(case, tmp_path, edit)).params
    wanted = load(GOLDEN / case).params
    kernel = found['block_1']['attention']['qkv']['kernel']
    assert kernel.dtype == found['prefix'].dtype == ml_dtypes.bfloat16
    np.testing.assert_allclose(
        kernel.astype(np.float32),
        wanted['block_1']['attention']['qkv']['kernel'], rtol=0.01)


@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
def test_the_format_of_the_project_itself(dtype, tmp_path):
  vit = preset('Ti/8', image_size=(64, 32), depth=2, prefix=0)
  rng = np.random.default_rng(0)
  arrays = {name: rng.normal(size=shape).astype(dtype)
            for name, shape in own.shapes_of(vit).items()}
  facts = ((64, 32), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), False)
  save_file(arrays, tmp_path / 'own.safetensors',
            metadata=own.metadata_of(vit, 'ours', *facts))
  found = load(tmp_path / 'own.safetensors')
  assert found.family == 'lst' and found.vit == vit
  assert (found.image_size, found.mean, found.std, found.cls) == facts
  np.testing.assert_array_equal(
      found.params['norm']['scale'], arrays['norm/scale'])
  assert found.params['positions'].dtype == dtype
  del arrays['norm/scale']
  arrays['extra'] = arrays['norm/bias']
  save_file(arrays, tmp_path / 'own.safetensors',
            metadata=own.metadata_of(vit, 'ours', *facts))
  with pytest.raises(
      ValueError, match=r'missing \(1\):\n  norm/scale(.|\n)*unexpected \(1\)'):
    load(tmp_path / 'own.safetensors')
