"""Every state of every family equals that of its reference implementation."""

import functools
import json
import pathlib

import flax.traverse_util
import jax
import numpy as np
import pytest

from lst.backbones import layers
from lst.backbones.families import family, own, timm_vit
from lst.backbones.families.family import Given
from lst.backbones.loading import load

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
CASES = sorted(path.name for path in GOLDEN.iterdir()
               if path.is_dir() and not path.name.startswith('video_'))

# Of clips -> (family, eps, that of the final norm where it has its own,
# activation, positions, mean of the red channel).
CLIP_CASES = {
    'video_4ds': ('4ds', 1e-6, 0.0, 'gelu_tanh', 'learned', 0.0),
    'video_hf_videomae': (
        'hf_videomae', 1e-12, 0.0, 'gelu', 'sincos', 0.485),
    'video_hf_videomae_finetuned': (
        'hf_videomae', 1e-12, 1e-5, 'gelu', 'sincos', 0.485),
    'video_hf_vivit': ('hf_vivit', 1e-6, 0.0, 'gelu_tanh', 'learned', 0.5),
    'video_hf_vjepa2': ('hf_vjepa2', 1e-6, 0.0, 'gelu', 'rotary_3d', 0.485),
}

# The two forms of GELU already differ by 1e-4, float32 rounding by 2e-6.
TOLERANCE = 2e-5

# What the name of a case begins with -> (family its file is read as, eps,
# activation, resize, mean of the red channel).
FACTS = {
    'hf_vit': ('hf_vit', 1e-12, 'gelu', 'bicubic', 0.5),
    'hf_deit': ('hf_deit', 1e-12, 'gelu', 'bicubic', 0.485),
    'hf_dinov2': ('hf_dinov2', 1e-6, 'gelu', 'bicubic', 0.485),
    'hf_dinov2_swiglu': ('hf_dinov2', 1e-6, 'silu', 'bicubic', 0.485),
    'hf_dinov2_registers': (
        'hf_dinov2_registers', 1e-6, 'gelu', 'bicubic_antialias', 0.485),
    'hf_dinov3': ('hf_dinov3', 1e-5, 'gelu', 'bicubic', 0.485),
    'hf_dinov3_swiglu': ('hf_dinov3', 1e-5, 'silu', 'bicubic', 0.485),
    'hf_clip': ('hf_clip', 1e-5, 'quick_gelu', 'bicubic', 0.48145466),
    'hf_siglip': ('hf_siglip', 1e-6, 'gelu_tanh', 'bicubic', 0.5),
    'hf_siglip2_naflex': (
        'hf_siglip', 1e-6, 'gelu_tanh', 'bilinear_antialias', 0.5),
    'timm': ('timm_vit', 1e-6, 'gelu', 'bicubic_antialias', 0.5),
    'timm_deit': ('timm_vit', 1e-6, 'gelu', 'bicubic_antialias', 0.485),
    'timm_dinov2': ('timm_vit', 1e-6, 'gelu', 'bicubic_antialias', 0.485),
    'timm_dinov2_registers_swiglu': (
        'timm_vit', 1e-6, 'silu', 'bicubic_antialias', 0.485),
    'timm_clip': (
        'timm_vit', 1e-5, 'quick_gelu', 'bicubic_antialias', 0.48145466),
    'timm_siglip': ('timm_vit', 1e-6, 'gelu_tanh', 'bicubic_antialias', 0.5),
    'vision_transformer': (
        'flax_vit', 1e-6, 'gelu_tanh', 'bilinear_corners', 0.5),
    'scenic': ('flax_vit', 1e-6, 'gelu_tanh', 'bilinear_corners', 0.5),
    'big_vision': ('flax_vit', 1e-6, 'gelu_tanh', 'bilinear_corners', 0.5),
    'big_vision_naflex': (
        'flax_vit', 1e-6, 'gelu_tanh', 'bilinear_antialias', 0.5),
}


@functools.partial(jax.jit, static_argnums=(0, 3))
def states_of(vit, params, images, eps):
  """{name: all 2L + 1 states and the final norm of the last} of each image."""
  states = {name: [] for name in images}

  def at(k, x, seen):
    assert k == len(seen)
    seen.append(x[0])
    return x

  for name, image in images.items():
    seen = states[name]
    x = vit.apply({'params': params}, image, functools.partial(at, seen=seen))
    norm = params['norm']
    seen.append(layers.layer_norm(x, norm['scale'], norm['bias'], eps)[0])
  return states


def error(found, wanted):
  """The largest relative error of each state."""
  difference = np.abs(np.stack(found) - wanted).max((1, 2))
  return difference / np.abs(wanted).max((1, 2))


def agree(case, inputs):
  """Asserts it of all sizes that there are states of; returns their names."""
  checkpoint = load(GOLDEN / case)
  flat = flax.traverse_util.flatten_dict(checkpoint.params, sep='/')
  assert {k: x.shape for k, x in flat.items()} == own.shapes_of(checkpoint.vit)
  with np.load(GOLDEN / f'{case}.npz', allow_pickle=False) as file:
    wanted = dict(file)
  with np.load(GOLDEN / inputs, allow_pickle=False) as file:
    images = {name: file[name] for name in wanted}
  found = states_of(checkpoint.vit, checkpoint.params, images,
                    checkpoint.norm_eps or checkpoint.vit.eps)
  for name in wanted:
    by_state = error(found[name], wanted[name])
    assert by_state.max() < TOLERANCE, f'{case}, {name}: by state {by_state}'
  return set(wanted)


@pytest.mark.parametrize('case', CASES)
def test_every_state_agrees(case):
  assert agree(case, 'images.npz') == {'native', 'non_square', 'resized'}


@pytest.mark.parametrize('case', CLIP_CASES)
def test_every_state_agrees_on_clips(case):
  assert agree(case, 'clips.npz') == (
      {'native'} if case in ('video_4ds', 'video_hf_vivit') else
      {'native', 'longer', 'non_square', 'resized'})


@pytest.mark.parametrize('case', CLIP_CASES)
def test_what_shapes_do_not_tell_of_clips(case):
  checkpoint = load(GOLDEN / case)
  vit = checkpoint.vit
  assert (checkpoint.family, vit.eps, checkpoint.norm_eps, vit.activation,
          vit.position, checkpoint.mean[0]) == CLIP_CASES[case]
  assert (vit.tile, vit.grid) == ((2, 4, 4), (2, 4, 4))
  assert checkpoint.image_size == (16, 16)
  assert checkpoint.cls == (case == 'video_hf_vivit') == bool(vit.prefix)


@pytest.mark.parametrize('case', CASES)
def test_what_shapes_do_not_tell(case):
  checkpoint = load(GOLDEN / case)
  start = max((s for s in FACTS if case.startswith(s)), key=len)
  mean = 0.1 if case == 'hf_vit' else FACTS[start][-1]  # its preprocessor's
  vit = checkpoint.vit
  assert (checkpoint.family, vit.eps, vit.activation, vit.resize,
          checkpoint.mean[0]) == (*FACTS[start][:-1], mean)
  assert checkpoint.image_size == (16, 16)
  no_cls = ('siglip', 'gap', 'naflex', 'fc_norm')
  assert checkpoint.cls == (not any(part in case for part in no_cls))


@pytest.mark.parametrize('line', (
    GOLDEN / 'timm_architectures.jsonl').read_text().splitlines())
def test_what_the_names_of_timm_tell(line):
  name, width, heads, activation, eps, pre_norm, gated = json.loads(line)
  shapes = {'blocks.0.mlp.fc1.weight': (32 * (1 + gated), width),
            'blocks.0.mlp.fc2.weight': (width, 32)}
  shapes |= {'norm_pre.weight': (width,)} if pre_norm else {}
  traits = timm_vit.traits_of(shapes, Given({'architecture': name}, {}, {}))
  found = family.heads_of(width, traits.heads, traits.heads_by_width)
  assert (found, traits.activation, traits.eps) == (heads, activation, eps)
