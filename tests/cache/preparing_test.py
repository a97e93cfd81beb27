"""From a config to a store, and back to the features of the backbone."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from lst import cache, data
from lst import config as config_lib
from lst import method as methods
from lst.cache import origins, preparing
from lst.tasks import parts as parts_of_tasks
from tests import commands, tiny

EPOCHS = 50
COUNT = 20


@pytest.fixture
def parts(weights, backbone, tmp_path):
  config = tiny.config(weights)
  config.cache.path, config.cache.mode = str(tmp_path), 'disk'
  config.data.train, config.data.test = f'train[:{COUNT}]', 'test[:5]'
  method = methods.build(config, backbone, 10)
  return config, cache.origin(backbone, method.extract), data.build(config.data)


def prepare(parts, split='train', **changes):
  config, origin, dataset = parts
  said = []
  prepared = cache.prepare(
      origin, cache.options(config)._replace(**changes),
      getattr(dataset, split), dataset.train, epochs=EPOCHS, say=said.append)
  return prepared, said


def online(parts, rows, augment='none', views=1):
  config, origin, dataset = parts
  every = data.viewed(dataset.train, augment, views)
  load = data.Loader(every, origin.image_size, config.data.resize)
  return jax.jit(origin.extract)(origin.frozen, load(rows).inputs), load(rows)


@pytest.mark.as_users
@pytest.mark.parametrize('mode', ['disk', 'ram'])
@pytest.mark.parametrize('augment, views', [('none', 1), ('crop', 3)])
def test_what_comes_out_is_what_the_backbone_gives(
    parts, mode, augment, views):
  prepared, said = prepare(parts, mode=mode, augment=augment, views=views)
  store = prepared.store
  assert prepared.choice.mode == mode and store.rows == COUNT * views
  assert "features of 'train[:20]': " in said[0] and 'as asked' in said[0]
  rows = np.array([3, 19, 0, 7, 11, 2, 5, 17]) * views + views - 1
  batch = store.batch(rows)
  expected, loaded = online(parts, rows, augment, views)
  found = jax.jit(cache.expand)(batch.inputs, store.codebook)
  for x, y in zip(found.taps, expected.taps, strict=True):
    assert np.array_equal(x, y)
  assert np.array_equal(found.norm.scale, expected.norm.scale)
  assert np.array_equal(batch.label, loaded.label)


@pytest.mark.as_users
def test_training_meets_the_rows_it_would_have_met(parts):
  store = prepare(parts, augment='crop', views=3)[0].store
  kept = data.train_rows(
      COUNT, store.batch, batch_size=8, views=3, seed=1, start_step=2)
  images = data.train_batches(
      parts[2].train, image_size=tiny.SIZE, augment='crop', views=3,
      batch_size=8, seed=1, start_step=2)
  extract = jax.jit(parts[1].extract)
  for _ in range(4):
    batch, image = next(kept), next(images)
    assert np.array_equal(batch.label, image.label)
    expected = extract(parts[1].frozen, image.inputs)
    assert all(map(np.array_equal, batch.inputs, expected.taps))


@pytest.mark.parametrize('form', ['int8', 'projected'])
def test_evaluation_takes_the_codebook_of_training(parts, form):
  config, origin, dataset = parts
  options = cache.options(config)._replace(form=form, rank=4)
  train = cache.prepare(
      origin, options, dataset.train, dataset.train, epochs=EPOCHS).store
  test = cache.prepare(
      origin, options, dataset.test, dataset.train, epochs=EPOCHS,
      codebook=train.codebook).store
  for x, y in zip(train.codebook[0], test.codebook[0], strict=True):
    assert np.array_equal(x, y)
  # Found anew, it is the same: it comes of the training split alone.
  again = preparing.recipe(origin, options, dataset.test, dataset.train).fit()
  assert np.allclose(again[0][0], train.codebook[0][0], atol=1e-6)
  assert preparing.stored_bytes(origin, options) == (
      train.about.layout.row_bytes)


def test_a_cache_that_is_there_is_taken_without_a_pass(parts, monkeypatch):
  first = prepare(parts)[0].store
  def never(*_):
    raise AssertionError
  monkeypatch.setattr(preparing, 'forward_seconds', never)
  prepared, said = prepare(parts, mode='auto')
  assert prepared.choice.mode == 'disk' and 'it is there already' in said[0]
  assert prepared.store.folder == first.folder


def test_off_computes_and_says_nothing(parts):
  prepared, said = prepare(parts, mode='off')
  assert prepared.store is None and not said


def test_auto_leaves_no_folder_where_memory_will_do(parts, tmp_path):
  prepared, said = prepare(parts, mode='auto')
  assert prepared.choice.mode in ('ram', 'off') and len(said) == 1
  assert not list(tmp_path.iterdir())


CHANGES = {
    'nothing': ({}, {}), 'resize': ({'resize': 'bicubic'}, {}),
    'form': ({'form': 'int8'}, {}), 'rank': ({'rank': 3}, {}),
    'views': ({'augment': 'crop', 'views': 2}, {}),
    'mode': ({'mode': 'ram'}, {}), 'workers': ({'workers': 0}, {}),
    'batch size': ({'batch_size': 3}, {}),
    'weights': ({}, {'digest': '0'}),
    'mean': ({}, {'mean': (0.4,) * 3}),
    'size': ({}, {'image_size': (24, 24)}),
    'dtype': ({}, {'dtype': 'bfloat16'}),
}
SAME = {'nothing', 'mode', 'workers', 'batch size', 'rank'}


@pytest.mark.parametrize('change', CHANGES)
def test_the_key_follows_what_counts(parts, change):
  config, origin, dataset = parts
  options = cache.options(config)
  how, where = CHANGES[change]
  before = origins.key(origin, options, dataset.train, dataset.train)
  after = origins.key(
      origin._replace(**where), options._replace(**how), dataset.train,
      dataset.train)
  assert (before.digest == after.digest) == (change in SAME)


def test_weights_may_come_from_elsewhere_but_have_to_come(parts, backbone):
  _, origin, _ = parts
  bare = backbone._replace(frozen=None)
  given = cache.origin(bare, origin.extract, backbone.frozen)
  assert given.digest == origin.digest == cache.digest_of(backbone.frozen)
  with pytest.raises(cache.CacheError, match='comes without weights'):
    cache.origin(bare, origin.extract)


def test_the_rank_of_a_projection_counts(parts):
  _, origin, dataset = parts
  options = cache.options(parts[0])._replace(form='projected')
  keys = {origins.key(origin, options._replace(rank=k), dataset.train,
                      dataset.train).digest for k in (3, 4)}
  assert len(keys) == 2


def test_what_extract_computes_counts(parts, backbone):
  config, origin, _ = parts
  programs = {origins.program(origin)}
  for change in ({'residual': 'figure'}, {'tap_norm': True},
                 {'name': 'linear'}):
    config = tiny.config(config.backbone.weights)
    config.side.update(change)
    programs.add(origins.program(
        cache.origin(backbone, methods.build(config, backbone, 10).extract)))
  assert len(programs) == 4
  # But not what only the side network does.
  config = tiny.config(config.backbone.weights)
  config.side.rank = 2
  again = cache.origin(backbone, methods.build(config, backbone, 7).extract)
  assert origins.program(again) == origins.program(origin)


def run(*arguments, root, devices=1):
  return commands.Command('lst.cache', *arguments, devices=devices, env={
      'LST_CACHE': str(root), 'COLUMNS': '120'}).ended(600)


def test_the_command_line(weights, tmp_path):
  root = tmp_path / 'root'
  file = tmp_path / 'config.py'
  file.write_text(
      'from tests import tiny\n\n\ndef get_config():\n'
      f'  return tiny.config({weights!r})\n')
  build = ('build', f'--config={file}', '--config.data.train=train[:20]',
           '--config.data.test=test[:5]', '--config.cache.form=int8')
  done = run(*build, root=root)
  assert done.returncode == 0, done.stderr
  assert "20 rows of 'train[:20]'" in done.stdout
  assert "5 rows of 'test[:5]'" in done.stdout
  assert len([p for p in root.iterdir() if p.name != '.locks']) == 2
  shown = run('inspect', root=root).stdout
  assert 'digits train[:20]' in shown and 'tiny' in shown and 'int8' in shown

  shard = next(root.glob('*/tap_01/c/0/0/0'))
  content = bytearray(shard.read_bytes())
  content[11] ^= 1
  shard.write_bytes(content)
  verified = run('verify', '--repair', root=root)
  assert verified.returncode == 1
  assert 'shard 0 of tap_01: wrong checksum' in verified.stdout
  assert 'lst/cache/__main__.py build' in verified.stdout
  assert not shard.exists()
  status = run('status', *build[1:], root=root)
  assert status.returncode == 3, status.stderr
  assert sorted(
      text.partition(': ')[2].partition(',')[0]
      for text in status.stdout.splitlines()
  ) == ['0 of 1 shards', '1 of 1 shards']
  # The key is the same in a Python of its own, with other hashes.
  again = subprocess.run(
      [sys.executable, '-m', 'lst.cache', *build], capture_output=True,
      text=True, timeout=600, check=True,
      env={**os.environ, 'LST_CACHE': str(root), 'COLUMNS': '120'})
  assert again.stdout.splitlines()[-1:] == done.stdout.splitlines()[-1:]
  assert shard.exists()

  prune = ('prune', '--gib=0')
  assert 'would delete' in run(*prune, '--dry_run', root=root).stdout
  assert shard.exists()
  assert 'freed' in run(*prune, root=root).stdout
  assert [p.name for p in root.iterdir()] == ['.locks']


@pytest.mark.parametrize('fsdp', [1, 2])
def test_all_devices_make_what_one_makes(weights, tmp_path, fsdp):
  file = tmp_path / 'config.py'
  file.write_text(
      'from tests import tiny\n\n\ndef get_config():\n'
      f'  return tiny.config({weights!r})\n')
  build = ('build', f'--config={file}', '--config.data.train=train[:20]',
           '--config.data.test=test[:5]', f'--config.mesh.fsdp={fsdp}',
           '--config.mesh.min_size=1')
  folders = []
  for devices in (1, 4):
    root = tmp_path / f'{devices}'
    done = run(*build[:-2] if devices == 1 else build, root=root,
               devices=devices)
    assert done.returncode == 0, done.stderr
    folders.append(sorted(root.glob('[0-9a-f]*')))
  one, four = folders
  assert [x.name for x in one] == [x.name for x in four] and len(one) == 2
  for x, y in zip(one, four, strict=True):
    a, b = (cache.Disk(folder).read(np.arange(5)) for folder in (x, y))
    for left, right in zip(a, b, strict=True):
      assert np.allclose(
          np.float32(left), np.float32(right), rtol=1e-3, atol=1e-5)


def of_tasks(weights):
  """Two tasks with one test in common."""
  config = tiny.config(weights)
  for name, train in (('a', 'train[:20]'), ('b', 'train[20:30]')):
    config.tasks[name] = config_lib.data()
    config.tasks[name].update(dict(train=train, test='test[:5]'))
  config.cache.mode = 'disk'
  return config


def test_of_a_config_of_tasks_the_features_of_each_are_made(weights, tmp_path):
  root, file = tmp_path / 'root', tmp_path / 'config.py'
  file.write_text(
      'from tests.cache import preparing_test\n\n\ndef get_config():\n'
      f'  return preparing_test.of_tasks({weights!r})\n')
  done = run('build', f'--config={file}', root=root)
  assert done.returncode == 0, done.stderr
  for rows in ("20 rows of 'train[:20]'", "10 rows of 'train[20:30]'"):
    assert rows in done.stdout
  config = of_tasks(weights)
  config.cache.path = str(root)
  # They are what the run reads: it makes no other.
  before = sorted(root.glob('*/about.json'))
  assert len(before) == 3
  for task in parts_of_tasks.make(config):
    assert not task.batches_of.online
  assert sorted(root.glob('*/about.json')) == before


@pytest.mark.parametrize('arguments, said', [
    (('bild',), 'COMMAND'), (('prune',), 'needs --days'),
    (('build', '--config=configs/digits.py', '--config.cache.frm=int8'),
     'did you mean config.cache.form'),
])
def test_a_command_line_that_is_wrong_is_told(tmp_path, arguments, said):
  done = run(*arguments, root=tmp_path)
  assert done.returncode == 2 and said in done.stderr
