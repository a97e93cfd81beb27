"""Where checkpoints come from; no test here goes out to a network."""

import json
import pathlib
import shutil
import socket
import time
import types

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from huggingface_hub.utils import filter_repo_objects

from lst.backbones import hub
from lst.backbones.loading import load
from lst.backbones.sources import KNOWN, locate

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
SHA = '0123456789' * 4


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  """An empty cache of the hub, and no way out."""
  def refuse(*args, **kwargs):
    raise OSError('no network in tests')

  monkeypatch.setattr(socket.socket, 'connect', refuse)
  monkeypatch.setattr(socket, 'getaddrinfo', refuse)
  monkeypatch.setattr(
      constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
  return tmp_path / 'hub'


def put(cache, repo, case, revision='main'):
  """A case as a cached snapshot of a repository."""
  home = cache / f'models--{repo.replace("/", "--")}'
  shutil.copytree(GOLDEN / case, home / 'snapshots' / SHA)
  (home / 'refs').mkdir()
  (home / 'refs' / revision).write_text(SHA)
  return home / 'snapshots' / SHA


def answer(monkeypatch, result):
  """Makes the hub answer every look at a repository with `result`."""
  asked = []

  def repo_info(self, repo, *, revision, timeout):
    asked.append((repo, revision))
    assert timeout <= 5
    return result()

  monkeypatch.setattr(huggingface_hub.HfApi, 'repo_info', repo_info)
  return asked


def listing(*names):
  return lambda: types.SimpleNamespace(
      siblings=[types.SimpleNamespace(rfilename=name) for name in names])


def fail_with(error):
  def call():
    raise error
  return call


@pytest.mark.parametrize('name', ['vit_b16_in21k', 'hf://org/name@v1'])
def test_without_a_network_it_fails_at_once_and_says_what_to_do(name):
  start = time.monotonic()
  with pytest.raises(OSError, match='cannot be reached') as caught:
    load(name)
  assert time.monotonic() - start < 5
  message = str(caught.value)
  for part in ('config.backbone.weights=/path/to/folder', 'config.json',
               'model.safetensors', 'hf download', 'HF_HOME', "'embedded'"):
    assert part in message


def test_offline_mode_is_honoured(monkeypatch):
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  with pytest.raises(OSError, match='cannot be reached'):
    load('dinov2_b14')


def test_a_hub_that_hangs_is_given_up(monkeypatch):
  monkeypatch.setattr(hub, 'PATIENCE', 0.2)
  asked = answer(monkeypatch, lambda: time.sleep(3))
  start = time.monotonic()
  with pytest.raises(OSError, match='no answer in'):
    load('clip_b16')
  assert time.monotonic() - start < 2
  assert len(asked) == hub.TRIES


def test_the_cache_is_used_offline(cache, monkeypatch):
  asked = answer(monkeypatch, fail_with(AssertionError('asked the hub')))
  put(cache, 'facebook/dinov2-base', 'hf_dinov2')
  checkpoint = load('dinov2_b14')
  assert (checkpoint.name, checkpoint.family) == ('dinov2_b14', 'hf_dinov2')
  put(cache, 'org/sharded', 'hf_vit_sharded', revision='v1')
  assert load('hf://org/sharded@v1').vit.depth == 2
  one = 'hf://org/sharded/model.safetensors.index.json@v1'
  assert locate(one).weights.name == 'model.safetensors.index.json'
  assert not asked


@pytest.mark.parametrize('file', ['', '/model.safetensors.index.json'])
@pytest.mark.parametrize('gone', ['config.json', 'model-00002-of-*'])
def test_a_cache_that_is_not_whole_is_not_used(cache, gone, file):
  folder = put(cache, 'org/sharded', 'hf_vit_sharded')
  for path in folder.glob(gone):
    path.unlink()
  with pytest.raises(OSError, match='cannot be reached'):
    load(f'hf://org/sharded{file}')


def test_a_download_takes_the_weights_and_configs_alone(cache, monkeypatch):
  answer(monkeypatch, listing(
      'README.md', 'config.json', 'model.safetensors', 'pytorch_model.bin'))
  asked = []

  def snapshot_download(repo, *, revision, local_files_only=False, **kwargs):
    if local_files_only:
      raise errors.LocalEntryNotFoundError('nothing')
    asked.append(kwargs['allow_patterns'])
    return str(GOLDEN / 'timm_augreg')

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)
  assert load('vit_b16_in21k_augreg').family == 'timm_vit'
  assert asked == [
      ['model.safetensors', 'config.json', 'preprocessor_config.json']]


@pytest.mark.parametrize('file, case', [
    ('sub/model.safetensors', 'timm_clip'),
    ('sub/model.safetensors.index.json', 'hf_vit_sharded')])
def test_a_file_of_a_subfolder_comes_with_all_that_is_beside_it(
    file, case, cache, monkeypatch):
  """Config and shards; those of the root are of something else."""
  there = tuple(f'sub/{path.name}' for path in (GOLDEN / case).iterdir())
  answer(monkeypatch, listing('config.json', *there))
  expected = json.loads((GOLDEN / case / 'config.json').read_text())

  def snapshot_download(
      repo, *, revision, local_files_only=False, allow_patterns=(), **kwargs):
    folder = cache / 'models--org--name' / 'snapshots' / SHA
    if local_files_only and not folder.exists():
      raise errors.LocalEntryNotFoundError('nothing')
    for name in filter_repo_objects(there, allow_patterns=allow_patterns):
      (folder / 'sub').mkdir(parents=True, exist_ok=True)
      if not local_files_only:
        shutil.copy(GOLDEN / case / pathlib.Path(name).name, folder / name)
    return str(folder)

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)
  checkpoint = load(f'hf://org/name/{file}')
  assert checkpoint.vit.activation == load(GOLDEN / case).vit.activation
  assert locate(f'hf://org/name/{file}').config == expected


def test_of_a_file_without_a_config_nothing_is_asked_again(cache, monkeypatch):
  """The metadata of our own format say what a config would."""
  asked = answer(monkeypatch, listing('sub/own.safetensors', 'config.json'))

  def snapshot_download(repo, *, local_files_only=False, **kwargs):
    folder = cache / 'models--org--name' / 'snapshots' / SHA
    if not folder.exists():
      if local_files_only:
        raise errors.LocalEntryNotFoundError('nothing')
      (folder / 'sub').mkdir(parents=True)
      (folder / 'sub' / 'own.safetensors').write_bytes(
          pathlib.Path(KNOWN['embedded']).read_bytes())
    return str(folder)

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)
  for _ in range(2):
    assert load('hf://org/name/sub/own.safetensors').family == 'lst'
  assert len(asked) == 1
  assert huggingface_hub.try_to_load_from_cache(
      'org/name', 'sub/config.json', cache_dir=cache, revision=SHA
  ) is huggingface_hub._CACHED_NO_EXIST


@pytest.mark.parametrize('names, message', [
    (('pytorch_model.bin',), 'is a pickle'),
    (('a.npz', 'b.npz'), 'name one, as in hf://org/name/FILE'),
    (('README.md',), 'holds 0 files of weights'),
])
def test_repositories_that_do_not_do(names, message, monkeypatch):
  answer(monkeypatch, listing(*names))
  with pytest.raises(ValueError, match=message):
    load('hf://org/name')


def test_a_file_that_is_not_in_the_repository(monkeypatch):
  answer(monkeypatch, listing('README.md'))
  with pytest.raises(FileNotFoundError, match=r"no 'x.npz'; it has README"):
    load('hf://org/name/x.npz')


@pytest.mark.parametrize('kind, raised, message', [
    ('GatedRepoError', PermissionError, 'terms to be accepted'),
    ('RepositoryNotFoundError', FileNotFoundError, 'is not there'),
    ('RevisionNotFoundError', FileNotFoundError, 'org/name@v2 is not there'),
])
def test_what_the_hub_answers(kind, raised, message, monkeypatch):
  error = getattr(errors, kind)
  asked = answer(monkeypatch, fail_with(error.__new__(error)))
  with pytest.raises(raised, match=message):
    load('hf://org/name@v2')
  assert asked == [('org/name', 'v2')]


@pytest.mark.parametrize('uri', ['hf://', 'hf://name', 'hf:///a/b'])
def test_an_address_of_another_form(uri):
  with pytest.raises(ValueError, match=r'hf://org/name\[/file\]'):
    load(uri)


def test_a_misspelt_name_is_told_its_neighbours():
  with pytest.raises(FileNotFoundError, match='did you mean dinov2_b14'):
    load('dino2_b14')


def test_an_npz_takes_no_config_from_beside_it(tmp_path):
  shutil.copy(GOLDEN / 'scenic_token' / 'weights.npz', tmp_path / 'B_16.npz')
  (tmp_path / 'config.json').write_text(json.dumps({'image_size': 5}))
  files = locate(str(tmp_path / 'B_16.npz'))
  assert (files.name, files.config) == ('B_16', {})


def test_a_broken_config_is_named(tmp_path):
  shutil.copytree(GOLDEN / 'hf_deit', tmp_path / 'deit')
  (tmp_path / 'deit' / 'config.json').write_text('{')
  with pytest.raises(ValueError, match=r'config\.json is no valid'):
    load(tmp_path / 'deit')


def test_clip_of_timm_is_given_its_own_activation(cache):
  folder = put(cache, 'timm/vit_base_patch16_clip_224.openai', 'timm_clip')
  config = json.loads((folder / 'config.json').read_text())
  (folder / 'config.json').write_text(json.dumps(
      config | {'architecture': 'vit_base_patch16_clip_224'}))
  assert load('clip_b16').vit.activation == 'quick_gelu'
  assert load(folder).vit.activation == 'gelu'


def test_known_names_are_addresses_or_packaged():
  for name, uri in KNOWN.items():
    assert uri.startswith('hf://') or name == 'embedded'
  for name in ('vit_b16_in21k', 'vit_b16_in21k_augreg', 'deit_s16',
               'dinov2_g14_reg', 'dinov3_7b16', 'clip_l14',
               'siglip_so400m14', 'siglip2_l16', 'videomae_b16',
               'vjepa2_g16', 'vivit_b16'):
    assert name in KNOWN
