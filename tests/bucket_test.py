"""Paths of buckets, on a bucket in memory."""

import json
import sys
import time

import numpy as np
import pytest
import tensorboardX
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from lst import cache, data, export, staging, workdir, writers
from lst import config as config_lib
from lst.data.fingerprint import stamp_of


class Bucket(MemoryFileSystem):
  """In place of gcsfs, whose paths have their scheme taken off."""

  protocol = 'gs'
  store, pseudo_dirs = {}, ['']

  @classmethod
  def _strip_protocol(cls, path):
    return MemoryFileSystem._strip_protocol(path.removeprefix('gs://'))


@pytest.fixture
def bucket(monkeypatch):
  """An empty bucket gs://b."""
  for name in ('gs', 'gcs'):
    monkeypatch.setitem(sys.modules['fsspec.registry']._registry, name, Bucket)
  # Where TensorFlow is installed, buckets are read by it.
  monkeypatch.setattr('etils.epath.gpath._is_tf_installed', lambda: False)
  backend = epath.Path('gs://b')._backend
  backend._get_filesystem.cache_clear()
  Bucket.store.clear()
  Bucket.pseudo_dirs[:] = ['']
  yield epath.Path('gs://b')
  backend._get_filesystem.cache_clear()


class Events:
  def __init__(self, *args, **kwargs):
    self.scalars = []

  def add_scalar(self, *args):
    self.scalars.append(args)

  def close(self):
    pass


def test_a_workdir_in_a_bucket_is_claimed_and_compared(bucket):
  config = config_lib.default()
  folder = bucket / 'runs' / 'one'
  with workdir.opened(folder, config) as done:
    assert done is None
    workdir.claim(folder, config)
    workdir.write_json(folder / workdir.RESULT, {'a': 1})
  with workdir.opened(folder, config) as done:
    assert done == {'a': 1}
  config.mesh.fsdp = 2
  with workdir.opened(folder, config):
    pass
  config.seed = 5
  with (pytest.raises(workdir.WorkdirError, match=r'\+ seed = 5'),
        workdir.opened(folder, config)):
    pass


def test_metrics_in_a_bucket_go_on_after_a_step(bucket, monkeypatch):
  monkeypatch.setattr(tensorboardX, 'SummaryWriter', Events)
  folder = bucket / 'run'
  folder.mkdir(parents=True)
  first = writers.Writer(folder, 0)
  for step in (1, 2, 3):
    first.write(step, {'loss': step / 2})
  first.close()
  again = writers.Writer(folder, 2)
  again.write(3, {'loss': 7.0})
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line) for line in lines] == [
      {'step': 1, 'loss': 0.5}, {'step': 2, 'loss': 1.0},
      {'step': 3, 'loss': 7.0}]


def test_what_was_trained_comes_back_out_of_a_bucket(bucket):
  (bucket / 'run').mkdir(parents=True)
  about = {'side': dict(config_lib.default().side), 'cls': True, 'prefix': 1}
  path = bucket / 'run' / 'side.safetensors'
  export.save(path, {'head': {'kernel': np.eye(3)}}, ('a', 'b', 'c'), about)
  read = export.load('gs://b/run/side.safetensors')
  np.testing.assert_array_equal(read.params['head']['kernel'], np.eye(3))
  assert read.classes == ('a', 'b', 'c')


def test_data_of_a_bucket_is_copied_once(bucket, tmp_path, monkeypatch):
  monkeypatch.setenv('LST_STAGE', str(tmp_path))
  for name, content in {'a/x.txt': b'x', 'a/in/y.txt': b'yy'}.items():
    path = bucket / 'data' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  target = epath.Path(staging.local('gs://b/data/a'))
  assert (target / 'x.txt').read_bytes() == b'x'
  assert (target / 'in' / 'y.txt').read_bytes() == b'yy'
  there = (target / 'x.txt').stat().mtime
  (bucket / 'data' / 'a' / 'in' / 'y.txt').write_bytes(b'yyy')
  assert staging.local('gs://b/data/a/') == str(target)
  assert (target / 'in' / 'y.txt').read_bytes() == b'yyy'
  assert (target / 'x.txt').stat().mtime == there
  # Other bytes, as many: the time tells.
  stamp = stamp_of(str(target / 'x.txt'))
  time.sleep(1e-3)
  (bucket / 'data' / 'a' / 'x.txt').write_bytes(b'z')
  staging.local('gs://b/data/a')
  assert (target / 'x.txt').read_bytes() == b'z'
  again = stamp_of(str(target / 'x.txt'))
  assert again != stamp and again.startswith('staged:')
  # Whoever copies it anew has the same.
  (target / 'x.txt').unlink()
  staging.local('gs://b/data/a')
  assert stamp_of(str(target / 'x.txt')) == again
  assert staging.local('gs://b/data/a/x.txt').endswith('/x.txt')
  with pytest.raises(FileNotFoundError, match='gs://b/none'):
    staging.local('gs://b/none')
  assert staging.local('here/x') == 'here/x'


def test_a_folder_of_images_in_a_bucket(bucket, tmp_path, monkeypatch):
  from PIL import Image
  for split in ('train', 'test'):
    for name in ('cat', 'dog'):
      path = bucket / 'pets' / split / name / '0.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      with path.open('wb') as file:
        Image.new('RGB', (4, 4)).save(file, 'png')
  config = config_lib.data()
  config.name, config.path = 'folder', 'gs://b/pets'
  seen = set()
  for machine in 'ab':
    monkeypatch.setenv('LST_STAGE', str(tmp_path / machine))
    built = data.build(config)
    assert built.classes == ('cat', 'dog') and built.train.size == 2
    seen.add(data.fingerprint(built.train))
  # So features are made once for all machines.
  assert len(seen) == 1


def test_a_cache_in_a_bucket_says_to_mount_it():
  with pytest.raises(cache.CacheError, match='Mount the bucket'):
    cache.root_of('gs://b/features')
