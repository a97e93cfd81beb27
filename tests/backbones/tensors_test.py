"""Files are read without unpickling, and damage is called by its name."""

import pathlib
import shutil

import numpy as np
import pytest

from lst.backbones import tensors
from lst.backbones.loading import load

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'


def copy(case, tmp_path):
  """A copy of a case, to be spoilt."""
  return pathlib.Path(shutil.copytree(GOLDEN / case, tmp_path / case))


@pytest.mark.parametrize('suffix', sorted(tensors.PICKLES))
def test_pickles_are_refused_unread(suffix, tmp_path):
  path = tmp_path / f'model{suffix}'
  path.write_bytes(b'not even a pickle')
  for source in (path, tmp_path, f'hf://org/name/model{suffix}'):
    with pytest.raises(ValueError, match=r'is a pickle(.|\n)*save_file'):
      load(source)


class Trap:
  """Leaves a trace when it is unpickled."""

  def __reduce__(self):
    return pathlib.Path.touch, (pathlib.Path('unpickled'),)


def test_an_npz_of_objects_is_not_unpickled(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  np.savez('weights.npz', **{
      'embedding/kernel': np.array([Trap()], dtype=object)})
  with pytest.raises(ValueError, match='objects'):
    load('weights.npz')
  assert not pathlib.Path('unpickled').exists()


@pytest.mark.parametrize('case, file', [
    ('hf_deit', 'model.safetensors'), ('scenic_token', 'weights.npz')])
@pytest.mark.parametrize('keep', [0, 5, 2000, -3])
def test_a_truncated_file_is_called_damaged(case, file, keep, tmp_path):
  folder = copy(case, tmp_path)
  whole = (folder / file).read_bytes()
  (folder / file).write_bytes(whole[:keep])
  with pytest.raises(ValueError, match=r'bytes\) is damaged.*Fetch it again'):
    load(folder)


def test_a_flipped_byte_in_an_npz_is_noticed(tmp_path):
  folder = copy('scenic_token', tmp_path)
  data = bytearray((folder / 'weights.npz').read_bytes())
  data[len(data) // 2] ^= 0xff
  (folder / 'weights.npz').write_bytes(data)
  with pytest.raises(ValueError, match='damaged'):
    load(folder)


def test_shards(tmp_path):
  folder = copy('hf_vit_sharded', tmp_path)
  shards = sorted(folder.glob('model-*.safetensors'))
  assert len(shards) > 1
  index = folder / 'model.safetensors.index.json'
  by_file, by_folder = load(index), load(folder)
  assert by_file.name == by_folder.name == 'hf_vit_sharded'
  np.testing.assert_array_equal(
      by_file.params['norm']['scale'], by_folder.params['norm']['scale'])
  shards[0].unlink()
  with pytest.raises(ValueError, match=f'not beside it: {shards[0].name}'):
    load(folder)
  index.write_text('{}')
  with pytest.raises(ValueError, match='weight_map'):
    load(folder)


def test_a_folder_of_several_files_asks_for_one(tmp_path):
  for name in 'ab':
    np.savez(tmp_path / f'{name}.npz', x=np.ones(2))
  with pytest.raises(ValueError, match=r'2 files of weights \(a.npz, b.npz\)'):
    load(tmp_path)


def test_an_empty_folder(tmp_path):
  with pytest.raises(ValueError, match='holds no weights'):
    load(tmp_path)
