"""Where the files of a checkpoint come from: a path, a known name, a hub."""

import difflib
import json
import pathlib
from typing import NamedTuple

from lst.backbones import hub, tensors

EMBEDDED = pathlib.Path(__file__).parent / 'embedded'

_TIMM = 'hf://timm/vit_{}'
_DINO = {'s': 'small', 'b': 'base', 'l': 'large', 'g': 'giant'}

# The backbones known by name.
KNOWN: dict[str, str] = {
    'embedded': str(EMBEDDED / 'ti8_tiny_imagenet.safetensors'),
    'vit_b16_in21k': 'hf://google/vit-base-patch16-224-in21k',
    'vit_l16_in21k': 'hf://google/vit-large-patch16-224-in21k',
    'vit_h14_in21k': _TIMM.format('huge_patch14_224.orig_in21k'),
    'vit_ti16_in21k_augreg': _TIMM.format('tiny_patch16_224.augreg_in21k'),
    'vit_s16_in21k_augreg': _TIMM.format('small_patch16_224.augreg_in21k'),
    'vit_b16_in21k_augreg': _TIMM.format('base_patch16_224.augreg_in21k'),
    'vit_l16_in21k_augreg': _TIMM.format('large_patch16_224.augreg_in21k'),
    'deit_s16': 'hf://timm/deit_small_patch16_224.fb_in1k',
    'deit_b16': 'hf://timm/deit_base_patch16_224.fb_in1k',
    **{f'dinov2_{k}14': f'hf://facebook/dinov2-{v}' for k, v in _DINO.items()},
    **{f'dinov2_{k}14_reg': f'hf://facebook/dinov2-with-registers-{v}'
       for k, v in _DINO.items()},
    **{f'dinov3_{k}': f'hf://facebook/dinov3-vit{k}-pretrain-lvd1689m'
       for k in ('s16', 'b16', 'l16', '7b16')},
    'clip_b32': _TIMM.format('base_patch32_clip_224.openai'),
    'clip_b16': _TIMM.format('base_patch16_clip_224.openai'),
    'clip_l14': 'hf://openai/clip-vit-large-patch14',
    'siglip_b16': 'hf://google/siglip-base-patch16-224',
    'siglip_l16': 'hf://google/siglip-large-patch16-256',
    'siglip_so400m14': 'hf://google/siglip-so400m-patch14-384',
    'siglip2_b16': 'hf://google/siglip2-base-patch16-224',
    'siglip2_l16': 'hf://google/siglip2-large-patch16-256',
    'siglip2_so400m14': 'hf://google/siglip2-so400m-patch14-384',
    'siglip2_b16_naflex': 'hf://google/siglip2-base-patch16-naflex',
    'siglip2_so400m16_naflex': 'hf://google/siglip2-so400m-patch16-naflex',
    # Of clips; 4DS has no repository on the hub: name its file, or its address
    # gs://representations4d/checkpoints/scaling4d_e.npz.
    **{f'videomae_{k}16': f'hf://MCG-NJU/videomae-{v}'
       for k, v in (('b', 'base'), ('l', 'large'))},
    'videomae_b16_ssv2': 'hf://MCG-NJU/videomae-base-ssv2',
    **{f'vjepa2_{k}16': f'hf://facebook/vjepa2-vit{k}-fpc64-256'
       for k in ('l', 'h', 'g')},
    'vjepa2_g16_384': 'hf://facebook/vjepa2-vitg-fpc64-384',
    'vivit_b16': 'hf://google/vivit-b-16x2-kinetics400',
}

# Fields in place of those in `config.json`. OpenAI's CLIP was trained with
# QuickGELU; timm files it under an architecture that has GELU.
CORRECTIONS: dict[str, dict] = {
    'clip_b32': {'architecture': 'vit_base_patch32_clip_quickgelu_224'},
    'clip_b16': {'architecture': 'vit_base_patch16_clip_quickgelu_224'},
}


class Files(NamedTuple):
  """The files of one checkpoint on this machine."""

  name: str
  weights: pathlib.Path
  config: dict
  preprocessor: dict


def locate(source: str) -> Files:
  """Finds a source's files, downloading them only where it is `hf://`.

  Args:
    source: a name of `KNOWN`, a file or folder, or
      `hf://org/name[/file][@revision]`.

  Raises:
    FileNotFoundError: no such path or name, or no such repository.
    OSError: the hub cannot be reached.
    ValueError: the weights are of a kind that is not read.
  """
  uri = KNOWN.get(source, source)
  if uri.startswith('hf://'):
    weights = hub.fetch(uri)
    name = source.removeprefix('hf://')
  else:
    weights = _from_path(uri)
    name = source if source in KNOWN else _stem(weights)
  # An .npz has no config; what lies beside it belongs to something else.
  config, preprocessor = (
      {} if weights.suffix == '.npz' else _json(weights.parent / file)
      for file in hub.CONFIGS)
  config |= CORRECTIONS.get(source, {})
  return Files(name, weights, config, preprocessor)


def _json(path: pathlib.Path) -> dict:
  if not path.is_file():
    return {}
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f'{path} is no valid JSON: {error}') from error


def _stem(weights: pathlib.Path) -> str:
  named = weights.name in tensors.WEIGHTS
  return weights.parent.name if named else weights.stem


def _from_path(source: str) -> pathlib.Path:
  path = pathlib.Path(source).expanduser()
  if path.is_dir():
    return tensors.find_weights(path)
  if path.is_file():
    return path
  near = difflib.get_close_matches(source, KNOWN, n=3, cutoff=0.4)
  hint = f'did you mean {" or ".join(near)}? ' if near else ''
  raise FileNotFoundError(
      f'{source!r} is no file, folder, hf:// address or known backbone: {hint}'
      f'known are {", ".join(sorted(KNOWN))}')
