"""Where the files of a checkpoint come from: a path, a known name, a hub."""

import difflib
import json
import pathlib
import re
import threading
from collections.abc import Callable
from typing import NamedTuple

from lst.backbones import tensors

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
    'clip_b32': 'hf://openai/clip-vit-base-patch32',
    'clip_b16': 'hf://openai/clip-vit-base-patch16',
    'clip_l14': 'hf://openai/clip-vit-large-patch14',
    'siglip_b16': 'hf://google/siglip-base-patch16-224',
    'siglip_l16': 'hf://google/siglip-large-patch16-256',
    'siglip_so400m14': 'hf://google/siglip-so400m-patch14-384',
    'siglip2_b16': 'hf://google/siglip2-base-patch16-224',
    'siglip2_l16': 'hf://google/siglip2-large-patch16-256',
    'siglip2_so400m14': 'hf://google/siglip2-so400m-patch14-384',
    'siglip2_b16_naflex': 'hf://google/siglip2-base-patch16-naflex',
    'siglip2_so400m16_naflex': 'hf://google/siglip2-so400m-patch16-naflex',
}

CONFIGS = ('config.json', 'preprocessor_config.json')

# Seconds for one answer of the hub, tries, and seconds for all of them.
TIMEOUT, TRIES, PATIENCE = 4, 2, 9


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
    weights = _from_hub(uri)
    name = source.removeprefix('hf://')
  else:
    weights = _from_path(uri)
    name = source if source in KNOWN else _stem(weights)
  # An .npz has no config; what lies beside it belongs to something else.
  beside = [{} if weights.suffix == '.npz' else _json(weights.parent / file)
            for file in CONFIGS]
  return Files(name, weights, *beside)


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


def _from_hub(uri: str) -> pathlib.Path:
  pattern = r'hf://(?P<repo>[^/@]+/[^/@]+)(/(?P<file>[^@]+))?(@(?P<rev>.+))?'
  match = re.fullmatch(pattern, uri)
  if not match:
    raise ValueError(
        f'{uri!r} is no address of the form hf://org/name[/file][@revision]')
  repo, file, revision = match['repo'], match['file'], match['rev']
  if file and file.endswith(tensors.PICKLES):
    raise ValueError(tensors.refusal(uri))
  cached = _cached(repo, file, revision)
  return cached or _downloaded(repo, file, revision)


def _cached(repo, file, revision) -> pathlib.Path | None:
  """The weights in the local cache, if they and their config are all there."""
  import huggingface_hub  # here, for it takes its time
  from huggingface_hub import errors
  try:
    folder = pathlib.Path(huggingface_hub.snapshot_download(
        repo, revision=revision, local_files_only=True))
  except errors.LocalEntryNotFoundError:
    return None
  if file:
    return folder / file if (folder / file).is_file() else None
  try:
    weights = tensors.find_weights(folder)
  except ValueError:
    return None
  config = {CONFIGS[0]} if weights.suffix != '.npz' else set()
  whole = all((folder / name).is_file() for name in _shards(weights) | config)
  return weights if whole else None


def _shards(weights: pathlib.Path) -> set[str]:
  if weights.suffix != '.json':
    return set()
  return set(json.loads(weights.read_text())['weight_map'].values())


def _downloaded(repo, file, revision) -> pathlib.Path:
  import huggingface_hub  # here, for it takes its time
  listed = _ask_hub(repo, revision)
  wanted = [file] if file else _wanted(repo, listed)
  if file and file not in listed:
    raise FileNotFoundError(
        f'hf://{repo} holds no {file!r}; it has {", ".join(listed[:20])}')
  try:
    folder = pathlib.Path(huggingface_hub.snapshot_download(
        repo, revision=revision, etag_timeout=TIMEOUT,
        allow_patterns=[*wanted, *CONFIGS]))
  except Exception as error:  # whatever the transport of the day raises
    endpoint = huggingface_hub.HfApi().endpoint
    raise OSError(_unreachable(repo, endpoint, error)) from error
  return folder / file if file else tensors.find_weights(folder)


def _wanted(repo: str, listed: list[str]) -> list[str]:
  """The files of a repository that make up its weights."""
  if tensors.WEIGHTS[0] in listed:
    return [tensors.WEIGHTS[0]]
  if tensors.WEIGHTS[1] in listed:
    return [tensors.WEIGHTS[1], 'model-*.safetensors']
  files = [f for f in listed if f.endswith(('.safetensors', '.npz'))]
  if len(files) == 1:
    return files
  pickles = [f for f in listed if f.endswith(tensors.PICKLES)]
  if not files and pickles:
    raise ValueError(tensors.refusal(f'hf://{repo}/{pickles[0]}'))
  raise ValueError(
      f'hf://{repo} holds {len(files)} files of weights, {files[:10]}: name '
      f'one, as in hf://{repo}/FILE')


def _ask_hub(repo: str, revision: str | None) -> list[str]:
  """The names of a repository's files, or an OSError within `PATIENCE`."""
  from huggingface_hub import HfApi, errors  # here, for it takes its time
  api = HfApi()
  problem: Exception = TimeoutError(f'no answer in {PATIENCE} s')
  for _ in range(TRIES):
    try:
      info = _within(PATIENCE / TRIES, lambda: api.repo_info(
          repo, revision=revision, timeout=TIMEOUT))
      return sorted(file.rfilename for file in info.siblings)
    except errors.GatedRepoError as error:
      raise PermissionError(
          f'hf://{repo} asks for its terms to be accepted: do so at '
          f'{api.endpoint}/{repo}, then run `hf auth login`') from error
    except (errors.RepositoryNotFoundError,
            errors.RevisionNotFoundError) as error:
      raise FileNotFoundError(
          f'hf://{repo}@{revision or "main"} is not there, or not open to '
          'you (`hf auth login`)') from error
    except Exception as error:  # whatever the transport of the day raises
      problem = error
  raise OSError(_unreachable(repo, api.endpoint, problem)) from problem


def _unreachable(repo: str, endpoint: str, problem: Exception) -> str:
  return (
      f'{endpoint} cannot be reached for hf://{repo} ({problem}). Without a '
      f'network, do one of these:\n'
      f'  put {", ".join(CONFIGS)} and {tensors.WEIGHTS[0]} of {repo} in a '
      'folder and name it: config.backbone.weights=/path/to/folder\n'
      f'  run `hf download {repo}` where there is a network and copy its '
      'cache (~/.cache/huggingface, or HF_HOME) here\n'
      "  take the backbone that comes with the package: "
      "config.backbone.weights='embedded'")


def _within(seconds: float, call: Callable):
  """Runs a call that may hang; TimeoutError when it takes longer."""
  outcome = []

  def run():
    try:
      outcome.append((call(), None))
    except Exception as error:
      outcome.append((None, error))

  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  thread.join(seconds)
  if not outcome:
    raise TimeoutError(f'no answer in {seconds:.1f} s')
  result, error = outcome[0]
  if error is not None:
    raise error
  return result
