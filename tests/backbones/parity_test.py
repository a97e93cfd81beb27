"""Every state of every family equals that of its reference implementation."""

import pathlib

import flax.traverse_util
import jax
import numpy as np
import pytest

from lst.backbones import layers
from lst.backbones.families import own
from lst.backbones.loading import load

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())

# What the name of a case begins with -> the family its file is read as.
FAMILIES = {
    'hf_vit': 'hf_vit',
    'hf_deit': 'hf_deit',
    'hf_dinov2': 'hf_dinov2',
    'hf_dinov2_registers': 'hf_dinov2_registers',
    'hf_dinov3': 'hf_dinov3',
    'hf_clip': 'hf_clip',
    'hf_siglip': 'hf_siglip',
    'timm': 'timm_vit',
    'vision_transformer': 'flax_vit',
    'scenic': 'flax_vit',
    'big_vision': 'flax_vit',
}


def states_of(checkpoint, images):
  """All 2L + 1 states and the final norm of the last, stacked."""
  def run(params, images):
    states = []

    def at(k, x):
      assert k == len(states)
      states.append(x)
      return x

    x = checkpoint.vit.apply({'params': params}, images, at)
    norm = params['norm']
    return [*states, layers.layer_norm(
        x, norm['scale'], norm['bias'], checkpoint.vit.eps)]

  return np.stack(jax.jit(run)(checkpoint.params, images))[:, 0]


@pytest.fixture(scope='module')
def images():
  with np.load(GOLDEN / 'images.npz', allow_pickle=False) as file:
    return dict(file)


@pytest.mark.parametrize('case', CASES)
def test_every_state_agrees(case, images):
  checkpoint = load(GOLDEN / case)
  with np.load(GOLDEN / f'{case}.npz', allow_pickle=False) as file:
    wanted = dict(file)
  assert set(wanted) == set(images) == {'native', 'non_square', 'resized'}
  for name, image in images.items():
    found = states_of(checkpoint, image)
    assert found.shape == wanted[name].shape
    axes = (1, 2)
    error = np.abs(found - wanted[name]).max(axes) / np.abs(
        wanted[name]).max(axes)
    assert error.max() < 1e-4, f'{case}, {name}: by state {error}'


@pytest.mark.parametrize('case', CASES)
def test_the_tree_is_the_one_the_module_makes(case):
  checkpoint = load(GOLDEN / case)
  flat = flax.traverse_util.flatten_dict(checkpoint.params, sep='/')
  found = {name: x.shape for name, x in flat.items()}
  assert found == own.shapes_of(checkpoint.vit)


@pytest.mark.parametrize('case', CASES)
def test_family_and_facts(case):
  checkpoint = load(GOLDEN / case)
  start = max((s for s in FAMILIES if case.startswith(s)), key=len)
  assert checkpoint.family == FAMILIES[start]
  assert checkpoint.image_size == (16, 16)
  no_cls = ('siglip', 'gap', 'naflex', 'fc_norm')
  assert checkpoint.cls == (not any(part in case for part in no_cls))
