"""TFDS datasets in array_record files, without TensorFlow or a network."""

import io
import json
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from lst import data
from lst.data import prepare, records
from lst.data import tfds as source


def png(value):
  file = io.BytesIO()
  Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(file, 'PNG')
  file.seek(0)
  return file


class LstTinyPets(tfds.core.GeneratorBasedBuilder):
  """Ten and four images; the name of the class is that of the dataset."""

  VERSION = tfds.core.Version('1.2.0')

  def _info(self):
    features = {
      'image': tfds.features.Image(shape=(None, None, 3)),
      'label': tfds.features.ClassLabel(names=['cat', 'dog']),
      'id': tfds.features.Text(),
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _split_generators(self, _):
    return {
      'train': self._generate_examples(10),
      'test': self._generate_examples(4),
      'unlabelled': self._generate_examples(1, labelled=False),
    }

  def _generate_examples(self, number, labelled=True):
    for i in range(number):
      label = i % 2 if labelled else -1
      yield i, {'image': png(i), 'label': label, 'id': str(i)}


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  tfds.disable_progress_bar()
  root = tmp_path_factory.mktemp('tfds')
  builder = LstTinyPets(data_dir=root, file_format='array_record')
  builder.download_and_prepare(file_format='array_record')
  return root


@pytest.fixture
def root(prepared, tmp_path):
  """A copy to spoil."""
  return shutil.copytree(prepared, tmp_path / 'data')


@pytest.fixture
def offline(monkeypatch):
  def refuse(*_):
    raise AssertionError('a connection was attempted')

  monkeypatch.setattr(socket.socket, 'connect', refuse)
  monkeypatch.setattr(socket, 'create_connection', refuse)


def build(make_config, path, **fields):
  fields = {'name': 'tfds', 'task': 'lst_tiny_pets', **fields}
  return data.build(make_config(path=path, **fields))


def test_a_prepared_dataset_needs_no_network(prepared, make_config, offline):
  begun = time.monotonic()
  built = build(make_config, prepared, train='train[:80%]', val='train[80%:]')
  assert time.monotonic() - begun < 5
  assert (built.train.size, built.val.size, built.test.size) == (8, 2, 4)
  assert built.classes == ('cat', 'dog')
  assert built.name == 'tfds/lst_tiny_pets/1.2.0'
  steps = data.train_batches(built.train, batch_size=8, image_size=4, seed=0)
  batch = next(steps)
  value = batch.inputs[:, 0, 0, 0]
  assert len(set(value)) == 8
  assert np.array_equal(value % 2, batch.label)
  assert 'tensorflow' not in sys.modules


def test_reading_takes_under_five_seconds_in_a_fresh_process(prepared):
  code = (
    'from lst.data import tfds; '
    f's = tfds.source("lst_tiny_pets", {str(prepared)!r}); '
    'assert len(s.splits["train"]) == 10; s.splits["test"][3]'
  )
  subprocess.run([sys.executable, '-c', code], check=True, timeout=10)


def test_where_it_is_looked_for(prepared, make_config, monkeypatch):
  folder = prepared / 'lst_tiny_pets' / '1.2.0'
  assert build(make_config, folder).train.size == 10
  assert build(make_config, prepared, task='lst_tiny_pets:1.2.0').test.size == 4
  monkeypatch.setenv('TFDS_DATA_DIR', str(prepared))
  assert build(make_config, '').train.size == 10


def test_versions_and_configs_by_files_alone(tmp_path):
  for folder in (
      'a/1.9.0', 'a/1.10.0', 'a/1.10.0.bak', 'a/old', 'b/x/2.0.0', 'c/x/1.0.0',
      'c/y/1.0.0'):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / 'dataset_info.json').touch()

  def find(task):
    found = source.find(source.parse(task), str(tmp_path))
    return found and found.removeprefix(f'{tmp_path}/')

  assert find('a') == 'a/1.10.0'
  assert find('a:1.9.0') == 'a/1.9.0'
  assert find('a:3.0.0') is None and find('d') is None
  assert find('b') == find('b/x') == find('b/x:2.0.0') == 'b/x/2.0.0'
  assert find('b/z') is None
  with pytest.raises(data.DataError, match=r"configs x, y: .*'c/x'"):
    find('c')


@pytest.mark.parametrize('task', [
  'cifar100', 'lst_tiny_pets:1.3.0', 'lst_tiny_pets/small'])
def test_a_folder_of_another_dataset(prepared, make_config, task):
  folder = prepared / 'lst_tiny_pets' / '1.2.0'
  with pytest.raises(data.DataError, match=(
      f"holds lst_tiny_pets:1.2.0, but config.data.task is '{task}':")):
    build(make_config, folder, task=task)


def test_an_example_is_parsed_without_its_other_features(root, make_config):
  keys = {'image_key': 'image', 'label_key': 'label'}
  example = build(make_config, root, **keys).train.source[0]
  assert isinstance(example.image, bytes)
  with pytest.raises(data.DataError, match=r"no feature 'lable'.*mean 'label'"):
    build(make_config, root, label_key='lable')
  with pytest.raises(data.DataError, match=r"'id' is Text.* not ClassLabel"):
    build(make_config, root, label_key='id')


def test_another_file_format(root, make_config):
  path = root / 'lst_tiny_pets' / '1.2.0' / 'dataset_info.json'
  info = json.loads(path.read_text())
  path.write_text(json.dumps({**info, 'fileFormat': 'tfrecord'}))
  with pytest.raises(data.DataError, match='prepared as tfrecord'):
    build(make_config, root)
  path.write_text('{')
  with pytest.raises(data.DataError, match='cannot be read'):
    build(make_config, root)


def test_a_missing_shard(root, make_config):
  [shard] = (root / 'lst_tiny_pets' / '1.2.0').glob('*test*')
  shard.unlink()
  with pytest.raises(data.DataError, match=r"the split 'test' lacks the file"):
    build(make_config, root)


def test_a_damaged_shard_is_named(root, make_config):
  [shard] = (root / 'lst_tiny_pets' / '1.2.0').glob('*test*')
  shard.write_bytes(shard.read_bytes()[:1000])
  split = build(make_config, root).test
  with pytest.raises(data.DataError, match=(
      f"Example 0 of the split 'test' .*{shard.name} is damaged .*again")):
    next(data.eval_batches(split, batch_size=1, image_size=4))


class Damaged:
  """A reader of records that cannot be read."""

  def __getitem__(self, index):
    raise ValueError('no record')


@pytest.mark.parametrize('index, name', [
  (0, 'first'), (1, 'first'), (2, 'third'), (4, 'third')])
def test_of_several_shards_the_one_that_is_damaged(index, name):
  features = tfds.features.FeaturesDict({
    'image': tfds.features.Image(),
    'label': tfds.features.ClassLabel(num_classes=2),
  })
  how = records.how_to_read('here', features, 'image', 'label', '')
  split = records.Records(
    Damaged(), features, how, ('first', 'second', 'third'), (2, 0, 3))
  with pytest.raises(ValueError, match=f'^{name} is damaged .no record'):
    split[index]


def test_an_unknown_split(prepared, make_config):
  with pytest.raises(data.DataError, match=r"no split 'trains'.*mean 'train'"):
    build(make_config, prepared, train='trains')


def test_a_split_without_labels(prepared, make_config):
  split = build(make_config, prepared, test='unlabelled').test
  message = "Example 0 of the split 'unlabelled' .* its label is -1, not 0 to 1"
  with pytest.raises(data.DataError, match=message):
    next(data.eval_batches(split, batch_size=1, image_size=4))


@pytest.mark.parametrize('task', ['', 'a b', 'cifar100:3', 'a/b/c'])
def test_a_malformed_name(make_config, tmp_path, task):
  with pytest.raises(data.DataError, match='write a TFDS name'):
    build(make_config, tmp_path, task=task)


@pytest.mark.parametrize('tensorflow', [True, False])
@pytest.mark.parametrize('network', [True, False])
def test_what_is_missing_is_said(
  make_config, tmp_path, monkeypatch, tensorflow, network
):
  if tensorflow and network:
    return
  monkeypatch.setattr(prepare, 'has_tensorflow', lambda: tensorflow)
  monkeypatch.setattr(prepare, 'has_network', lambda: network)
  with pytest.raises(data.DataError) as caught:
    build(make_config, tmp_path, task='cifar100')
  text = str(caught.value)
  assert ('TensorFlow, which prepares it, is not installed' in text) != (
    tensorflow
  )
  assert ('does not answer' in text) != network
  for way in (
    "lst[prepare]", 'configs/digits.py', '--config.data.name=vtab',
    'train800val200.txt', f'{tmp_path}/cifar100/<version>', 'TFDS_DATA_DIR',
  ):
    assert way in text


def test_an_unknown_dataset(make_config, tmp_path, offline):
  with pytest.raises(data.DataError, match=r"'cifar10O'. Did you mean 'cifar1"):
    build(make_config, tmp_path, task='cifar10O')


def test_it_is_prepared_where_it_can_be(make_config, tmp_path, monkeypatch):
  monkeypatch.setattr(prepare, 'has_tensorflow', lambda: True)
  monkeypatch.setattr(prepare, 'has_network', lambda: True)
  built = build(make_config, tmp_path)
  assert built.train.size == 10
  assert build(make_config, tmp_path).name == built.name

  def fail(*_, **__):
    raise RuntimeError('the server is down')

  monkeypatch.setattr(LstTinyPets, 'download_and_prepare', fail)
  with pytest.raises(data.DataError, match=r'could not .*server is down'):
    build(make_config, tmp_path / 'other')


@pytest.mark.parametrize('answer', ['hangs', 'refuses', 'connects'])
def test_the_network_is_tried_for_a_bounded_time(monkeypatch, answer):
  class Connection:
    def close(self):
      pass

  def connect(address, timeout):
    assert timeout == prepare.CONNECT_SECONDS
    if answer == 'hangs':
      time.sleep(2)
    if answer == 'refuses':
      raise OSError('no route')
    return Connection()

  monkeypatch.setattr(prepare, 'ATTEMPT_SECONDS', 0.2)
  monkeypatch.setattr(socket, 'create_connection', connect)
  begun = time.monotonic()
  assert prepare.has_network() == (answer == 'connects')
  assert time.monotonic() - begun < 1


def test_a_proxy_is_what_is_tried(monkeypatch):
  for name in ('https_proxy', 'HTTPS_PROXY'):
    monkeypatch.delenv(name, raising=False)
  assert prepare.address() == prepare.HOST
  monkeypatch.setenv('https_proxy', 'http://proxy.example:3128')
  assert prepare.address() == ('proxy.example', 3128)
