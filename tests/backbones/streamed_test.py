"""Blocks that stay on disk: the bits of resident ones, two at a time."""

import pathlib
import threading

import jax
import numpy as np
import pytest

from lst import build, export, report, sharding
from lst import method as methods
from lst.backbones import backbone as backbones
from lst.backbones import (
    block_files,
    converting,
    loading,
    placing,
    streamed,
)
from lst.backbones.frozen import of_clips
from tests import tiny

pytestmark = pytest.mark.as_users
GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'


def config_of(weights, folder, blocks='disk', **fields):
  config = tiny.config(str(weights))
  config.backbone.update(
      {'blocks': blocks, 'blocks_path': str(folder), **fields})
  return config


def built_of(weights, folder, blocks='disk', **fields):
  return backbones.build(config_of(weights, folder, blocks, **fields).backbone)


def taps_of(backbone, images, nodes=None):
  taps = backbones.runner(backbone, nodes)(backbone.frozen, images).taps
  return [np.asarray(tap) for tap in taps]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('blocks')


@pytest.fixture(scope='module')
def on_disk(weights, folder):
  return built_of(weights, folder)


@pytest.mark.parametrize('kind', ['none', 'int4'])
def test_features_are_those_of_resident_blocks_bit_for_bit(
    kind, weights, folder, batch):
  ours = built_of(weights, folder, quantise=kind)
  loop = built_of(weights, folder, 'loop', quantise=kind)
  for a, b in zip(*(taps_of(backbone, batch.inputs) for backbone in (
      ours, loop)), strict=True):
    np.testing.assert_array_equal(a, b)
  # Whatever a side network was trained on, the other form is the same weights.
  assert export.digest(ours.frozen) == export.digest(loop.frozen)
  assert report.count(ours.frozen) == report.count(loop.frozen)


def test_a_few_images_at_a_time_and_some_states(
    weights, folder, on_disk, batch, monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  monkeypatch.setattr(backbones, 'images_at_once', lambda *_: 2)
  loop = built_of(weights, folder, 'loop')
  for nodes in ((2, 6), (4,)):
    for a, b in zip(*(taps_of(backbone, batch.inputs, nodes) for backbone in (
        on_disk, loop)), strict=True):
      np.testing.assert_array_equal(a, b)
  with pytest.raises(ValueError, match=r"blocks='disk'.*blocks='loop'"):
    backbones.runner(on_disk, (1, 6))


def test_clips_go_through_as_well(tmp_path):
  weights, clips = tiny.write(tmp_path, tiny.CLIP_VIT), np.random.default_rng(
      0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
  taps = [taps_of(of_clips(built_of(weights, tmp_path, blocks), 4), clips)
          for blocks in ('disk', 'loop')]
  for a, b in zip(*taps, strict=True):
    assert a.shape == (2, 2 * 16, 24)
    np.testing.assert_array_equal(a, b)


def test_a_sharded_checkpoint_of_another_family(folder, tmp_path):
  ours, loop = (built_of(GOLDEN / 'hf_vit_sharded', folder, blocks)
                for blocks in ('disk', 'loop'))
  size = ours.image_size
  images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
  for a, b in zip(*(taps_of(backbone, images) for backbone in (
      ours, loop)), strict=True):
    np.testing.assert_array_equal(a, b)
  for path in (GOLDEN / 'hf_vit_sharded').iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  shard = sorted(tmp_path.glob('*.safetensors'))[0]
  shard.unlink()
  with pytest.raises(ValueError, match=f'not beside it: {shard.name}'):
    built_of(tmp_path, folder)


def test_two_blocks_are_there_at_a_time(tmp_path, batch):
  # A shape of its own: what other tests left is collected at any time.
  vit = tiny.VIT.clone(depth=8, hidden=52)
  built = built_of(tiny.write(tmp_path, vit), tmp_path)
  blocks = built.frozen['blocks'].blocks
  shape = blocks.shapes['mlp']['up']['kernel'].shape
  read, there = blocks.read, []

  def watched(block, where):
    made = read(block, where)
    there.append(sum(x.shape == shape for x in jax.live_arrays()))
    return made

  blocks.read = watched
  assert len(taps_of(built, batch.inputs)) == len(there) == 8
  assert max(there) == streamed.MOST == 2
  assert not any(x.shape == shape for x in jax.live_arrays())


def test_reading_waits_until_there_is_room():
  begun, gone_on = [], threading.Event()

  def read(k):
    begun.append(k)
    if len(begun) == 3:
      gone_on.set()
    return k

  with streamed.Ahead(read, 5, most=2) as coming:
    assert (coming.next(), coming.next()) == (0, 1)
    assert not gone_on.wait(0.2) and begun == [0, 1]
    coming.done()
    assert coming.next() == 2 and begun == [0, 1, 2]


def test_what_fails_while_reading_is_raised_and_no_thread_stays():
  def read(k):
    raise ValueError(f'{k} is broken')

  before = threading.active_count()
  with (pytest.raises(ValueError, match='0 is broken'),
        streamed.Ahead(read, 3) as coming):
    coming.next()
  with streamed.Ahead(lambda k: k, 9) as coming:
    assert coming.next() == 0
  assert threading.active_count() == before


def test_a_conversion_holds_one_block(weights):
  checkpoint, pairs = loading.opened(weights)
  shapes = placing.shapes(checkpoint.vit, checkpoint.vit.dtype)
  asked, written = [], []

  def watched():
    for path, array in pairs:
      asked.append(path)
      yield path, array

  for name, tree in converting._by_file(
      watched(), checkpoint.vit, 'none', shapes):
    written.append(name)
    block = name.split('.')[0].replace('block_00', 'block_')
    if name != block_files.REST:
      own = [path for path in asked if path.startswith('block_')]
      # All of this one have come, and nothing of the next.
      assert own[-1].startswith(f'{block}/')
      assert len(jax.tree.leaves(tree)) * len(written) == len(own)
  assert written == [*map(block_files.name_of, range(3)), block_files.REST]


def damaged(folder, weights, damage):
  """A backbone of its own folder, whose block 1 is damaged as it runs."""
  built = built_of(weights, folder)
  path = built.frozen['blocks'].blocks.files.folder / block_files.name_of(1)
  damage(path)
  return built, path


def cut(path):
  path.write_bytes(path.read_bytes()[:-10])


def changed(path):
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)


@pytest.mark.parametrize('damage', [cut, changed, pathlib.Path.unlink])
def test_damage_is_told_and_made_good_by_the_next(
    damage, weights, batch, tmp_path, capsys):
  built, path = damaged(tmp_path, weights, damage)
  with pytest.raises(
      ValueError, match=r'block_001\.safetensors is damaged or incomplete'):
    taps_of(built, batch.inputs)
  again = built_of(weights, tmp_path)
  assert path.exists() and 'makes it anew' in capsys.readouterr().out
  loop = built_of(weights, tmp_path, 'loop')
  np.testing.assert_array_equal(
      taps_of(again, batch.inputs)[-1], taps_of(loop, batch.inputs)[-1])


def test_files_are_made_once_and_of_each_kind_apart(weights, tmp_path):
  def made():
    return {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*.safetensors')}

  built_of(weights, tmp_path)
  first = made()
  built_of(weights, tmp_path)
  assert made() == first and len(first) == 4
  built_of(weights, tmp_path, quantise='int4')
  assert len(made()) == 8 and made().items() > first.items()
  about = next(tmp_path.glob('*/about.json'))
  of = '"version": {}'.format
  about.write_text(about.read_text().replace(
      of(converting.VERSION), of(converting.VERSION + 1)))
  with pytest.raises(ValueError, match='its checksum is wrong'):
    block_files.read_about(about.parent)


def test_files_that_were_not_finished_are_not_trusted(
    weights, tmp_path, monkeypatch):
  def killed(files):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(converting, '_digest', killed)
    with pytest.raises(KeyboardInterrupt):
      built_of(weights, tmp_path)
  assert not list(tmp_path.glob('*/about.json'))
  built = built_of(weights, tmp_path)
  assert len(built.frozen['blocks'].blocks.files.about['sha256']) == 64


def test_a_disk_that_is_too_small_is_told(weights, tmp_path, monkeypatch):
  usage = converting.shutil.disk_usage(tmp_path)._replace(free=1000)
  monkeypatch.setattr(converting.shutil, 'disk_usage', lambda _: usage)
  with pytest.raises(OSError, match=r'config\.backbone\.blocks_path'):
    built_of(weights, tmp_path)


def test_four_bits_are_half_a_byte():
  values = np.random.default_rng(0).integers(-8, 8, (6, 10)).astype(np.int8)
  packed = block_files._packed(values)
  assert packed.shape == (6, 5)
  np.testing.assert_array_equal(
      block_files.unpacked(block_files.Packed(packed)).astype(np.int8), values)
  np.testing.assert_array_equal(
      np.asarray(streamed._unpacked(packed)).astype(np.int8), values)


def test_no_program_takes_it(on_disk, batch):
  extract = backbones.extractor(on_disk)
  taps = jax.eval_shape(extract, on_disk.frozen, batch.inputs).taps
  assert [tap.shape for tap in taps] == [(8, tiny.TOKENS, tiny.VIT.width)] * 3
  with pytest.raises(ValueError, match=r"blocks='disk' runs block by block"):
    jax.jit(extract)(on_disk.frozen, batch.inputs)
  with pytest.raises(ValueError, match=r"blocks='disk' runs block by block"):
    on_disk.apply(on_disk.frozen, batch.inputs)


@pytest.mark.parametrize('method', ['placed', 'lora'])
def test_what_trains_inside_of_blocks_is_refused(method, weights, folder):
  config = config_of(weights, folder)
  config.method = method
  with pytest.raises(
      ValueError, match=rf"method='{method}'.*backbone\.blocks="):
    methods.build(config, backbones.build(config.backbone), tiny.CLASSES)


def test_it_is_not_streamed_to_many_hosts(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(ValueError, match=r"config\.backbone\.blocks='disk'"):
    build.check_blocks('disk', sharding.make_mesh())


def test_a_plan_takes_it_as_streamed(weights):
  config = tiny.config(weights).backbone
  config.blocks = 'disk'
  assert backbones.shaped(config).blocks == 'host'
