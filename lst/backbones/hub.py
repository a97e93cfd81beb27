"""Checkpoints on the Hugging Face hub: out of the cache, or downloaded once."""

import pathlib
import re
import threading
from collections.abc import Callable

from lst.backbones import tensors

CONFIGS = ('config.json', 'preprocessor_config.json')
INDEX = '.safetensors.index.json'

# Seconds for one answer of the hub, tries, and seconds for all of them.
TIMEOUT, TRIES, PATIENCE = 4, 2, 9


def fetch(uri: str) -> pathlib.Path:
  """The weights at `hf://org/name[/file][@revision]`, out of the local cache.

  Asks the hub for them only if the cache lacks them; their configs lie beside
  them. Raises FileNotFoundError, PermissionError (terms to be accepted),
  ValueError (a pickle, or several files) or OSError (no network).
  """
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
  try:
    weights = folder / file if file else tensors.find_weights(folder)
    if not weights.is_file():
      return None
    tensors.shards(weights)  # Looks whether they are all there.
  except ValueError:
    return None
  config = weights.parent / CONFIGS[0]
  if weights.suffix == '.npz' or config.is_file() or _none(
      folder, config.relative_to(folder)).exists():
    return weights
  return None


def _none(folder: pathlib.Path, file: pathlib.PurePath) -> pathlib.Path:
  """What is there where a snapshot is known to lack a file: as the library of
  the hub has it."""
  return folder.parents[1] / '.no_exist' / folder.name / file


def _downloaded(repo, file, revision) -> pathlib.Path:
  import huggingface_hub  # here, for it takes its time
  listed = _ask_hub(repo, revision)
  file = file or _chosen(repo, listed)
  if file not in listed:
    raise FileNotFoundError(
        f'hf://{repo} holds no {file!r}; it has {", ".join(listed[:20])}')
  try:
    folder = pathlib.Path(huggingface_hub.snapshot_download(
        repo, revision=revision, etag_timeout=TIMEOUT,
        allow_patterns=_wanted(file)))
  except Exception as error:  # whatever the transport of the day raises
    endpoint = huggingface_hub.HfApi().endpoint
    raise OSError(_unreachable(repo, endpoint, error)) from error
  config = pathlib.PurePosixPath(file).with_name(CONFIGS[0])
  if str(config) not in listed:
    # Or it would be asked for at every start.
    none = _none(folder, config)
    none.parent.mkdir(parents=True, exist_ok=True)
    none.touch()
  return folder / file


def _wanted(file: str) -> list[str]:
  """Patterns of a file of weights, its shards, and the configs beside them."""
  name = file.removesuffix(INDEX)
  shards = [f'{name}-*.safetensors'] if name != file else []
  beside = pathlib.PurePosixPath(file).parent
  return [file, *shards, *(str(beside / config) for config in CONFIGS)]


def _chosen(repo: str, listed: list[str]) -> str:
  """The file of a repository's weights, or their index."""
  for name in tensors.WEIGHTS:
    if name in listed:
      return name
  files = [f for f in listed if f.endswith(('.safetensors', '.npz'))]
  if len(files) == 1:
    return files[0]
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
