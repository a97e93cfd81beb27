"""Videos: sampling, decoding, broken files, the rendered source, a run."""

import itertools
import json
import logging
import pathlib
import shutil
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst import build, data, inputs, losses, method, step, train
from lst import config as config_lib
from lst.data.video import decode, motion, sampling, scenes
from tests import tiny

pytest.importorskip('av')

SIZE, FRAMES = 16, 8
# An ordinary stream: one key frame, the others from their neighbours.
USUAL = {'g': '250', 'bf': '2', 'qp': '10', 'threads': '1'}


def grey(values, size=(SIZE, SIZE)):
  """Frames of one grey value each."""
  frames = np.ones((len(values), *size, 3), np.uint8)
  return frames * np.array(values, np.uint8)[:, None, None, None]


VALUES = [20 + 25 * k for k in range(FRAMES)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Two classes, brighter and darker: five videos each, one of them broken."""
  root = tmp_path_factory.mktemp('videos')
  for split, (name, values) in itertools.product(
      ('train', 'test'), (('darker', VALUES[::-1]), ('up', VALUES))):
    (root / split / name).mkdir(parents=True)
    for k in range(5):
      motion.encode(str(root / split / name / f'{k}.mp4'), grey(values), USUAL)
  (root / 'train' / 'up' / '3.mp4').write_bytes(b'no video at all')
  return root


def config_of(folder, name='video_folder', **video):
  out = config_lib.default()
  out.data.update(dict(name=name, path=str(folder)))
  out.data.video.update(dict(frames=4, max_broken=0.2) | video)
  return out


def read(split, frames=4, batch_size=5):
  """The only batches of a split, joined: the grey value of each frame."""
  batches = list(data.eval_batches(
      data.viewed(split), batch_size=batch_size,
      image_size=(frames, SIZE, SIZE)))
  return [np.concatenate(x) for x in zip(*batches, strict=True)]


@pytest.mark.parametrize('options', [USUAL, motion.ALONE])
def test_any_frame_is_found(tmp_path, options):
  path = str(tmp_path / 'a.mp4')
  motion.encode(path, grey(VALUES), options)
  for wanted in ([0, 3, 7], [7, 0, 3], [5, 5], list(range(8))):
    frames = decode.read(path, lambda n, w=wanted: w[:n])
    np.testing.assert_allclose(
        [f.mean() for f in frames], [VALUES[k] for k in wanted], atol=4)


def test_a_folder_gives_clips_and_skips_what_is_broken(
    folder, caplog):
  built = data.build(config_of(folder).data)
  assert built.classes == ('darker', 'up') and built.frames == 4
  with caplog.at_level(logging.WARNING, 'lst.data'):
    pixels, label, mask = read(built.train)
  assert pixels.shape == (10, 4, SIZE, SIZE, 3) and pixels.dtype == np.uint8
  assert mask.sum() == 9 and built.broken['train'] == 1
  assert 'up/3.mp4' in caplog.text and '1 of 10' in caplog.text
  # One of each of four equal parts: frames 1, 3, 5 and 7.
  assert sorted(label[mask > 0]) == [0] * 5 + [1] * 4
  for frames, up in zip(
      pixels.mean((2, 3, 4))[mask > 0], label[mask > 0], strict=True):
    np.testing.assert_allclose(
        frames, (VALUES if up else VALUES[::-1])[1::2], atol=4)


def test_too_many_broken_stop_the_run(folder):
  built = data.build(config_of(folder, max_broken=0.05).data)
  with pytest.raises(data.DataError, match='max_broken'):
    read(built.train)


def wav(path):
  with wave.open(str(path), 'wb') as file:
    file.setparams((1, 1, 8000, 0, 'NONE', ''))
    file.writeframes(bytes(8000))


@pytest.mark.parametrize('write, why', [
    (lambda path: None, 'No such file'), (pathlib.Path.touch, 'cannot be deco'),
    (lambda path: path.write_text('text'), 'cannot be decoded'),
    (wav, 'holds no video')])
def test_why_a_file_is_no_video_is_said(tmp_path, write, why):
  write(tmp_path / 'a.mp4')
  with pytest.raises((OSError, ValueError), match=why):
    decode.read(str(tmp_path / 'a.mp4'), lambda n: [0])


@pytest.mark.parametrize('video', [[], np.zeros((0, 4, 4, 3), np.uint8)])
def test_a_video_without_a_frame_is_no_video(video):
  with pytest.raises(ValueError, match='empty: it holds no frame'):
    decode.read(video, lambda n: [0])


def test_a_csv_of_videos(folder, tmp_path):
  path = tmp_path / 'list.csv'
  rows = [f'{folder}/test/{name}/{k}.mp4,{name},{split}'
          for name in ('darker', 'up')
          for k, split in ((0, 'train'), (1, 'train'), (2, 'test'))]
  path.write_text('\n'.join(['path,label,split', *rows]))
  built = data.build(config_of(path, 'video_csv', sampling='dense', stride=2,
                               frames=3).data)
  pixels, label, _ = read(built.train, 3, 4)
  assert label.tolist() == [0, 0, 1, 1]
  np.testing.assert_allclose(
      pixels[2].mean((1, 2, 3)), [VALUES[k] for k in (2, 4, 6)], atol=4)


def test_test_views_go_through_moments_and_windows():
  how = sampling.Sampling(2, 'dense', 1, clips=2, crops=3)
  views = [sampling.view(how, 'grid', k, 0) for k in range(how.views)]
  starts = [sampling.indices(v, how, 10)[0] for v in views]
  assert starts == [0] * 3 + [8] * 3
  lefts = [sampling.window(v, (8, 16), (8, 8))[1].start for v in views]
  assert lefts == [0, 4, 8] * 2


@pytest.mark.parametrize('augment, mirrored', [('crop', False), ('flip', True)])
@pytest.mark.parametrize('mode', sampling.MODES)
def test_drawn_views_are_moments_and_windows_of_their_own(
    mode, augment, mirrored):
  how = sampling.Sampling(3, mode, 2)
  views = [sampling.view(how, augment, k, 5) for k in range(20)]
  assert views == [sampling.view(how, augment, k, 5) for k in range(20)]
  assert views[1] != sampling.view(how, augment, 1, 6)
  frames = [sampling.indices(v, how, 30) for v in views]
  corners = [tuple(s.start for s in sampling.window(v, (12, 16), (8, 8)))
             for v in views]
  assert frames[0] == ([5, 15, 25] if mode == 'uniform' else [13, 15, 17])
  assert corners[0] == (2, 4)
  assert len(set(map(tuple, frames))) > 10 and len(set(corners)) > 10
  for found in frames:
    parts = [k // 10 for k in found]
    assert parts == [0, 1, 2] if mode == 'uniform' else (
        np.diff(found).tolist() == [2, 2])
    assert found[0] >= 0 and found[-1] < 30
  assert {v.mirrored for v in views} == {False, mirrored}


def test_the_logits_of_views_are_averaged():
  logits = jnp.float32([[4, 0], [0, 2], [0, 9], [3, 0], [7, 7], [7, 7]])
  # Of two views each: the mean; the one that can be read; none.
  batch = data.Batch(
      logits, jnp.int32([1, 1, 1, 1, 0, 0]), jnp.float32([1, 1, 1, 0, 0, 0]))
  sums = step.eval_step(
      None, None, batch, predict=lambda p, f, x: x, views=2,
      loss=losses.cross_entropy)
  means = jnp.float32([[2, 1], [0, 9]])
  expected = losses.cross_entropy(means, jnp.int32([1, 1])).sum()
  assert float(sums.count) == 2 and float(sums.correct) == 1
  assert float(sums.loss) == pytest.approx(float(expected))


def something(root, **changed):
  """A folder as Something-Something v2 is handed out in."""
  files = {
      'labels': {'Holding something': '1', 'Closing something': '0'},
      'train': [{'id': '7', 'template': 'Holding [something]'},
                {'id': '2', 'template': 'Closing [something]'}],
      'validation': [{'id': '3', 'template': 'closing [something]'}]}
  for name, content in (files | changed).items():
    (root / 'labels').mkdir(exist_ok=True)
    (root / 'labels' / f'{name}.json').write_text(json.dumps(content))
  (root / '20bn-something-something-v2').mkdir(exist_ok=True)
  return root


def test_something_something_as_it_is_handed_out(folder, tmp_path):
  root = something(tmp_path)
  config = config_of(root, 'something')
  config.data.test = 'validation'
  for name in ('7', '2', '3'):
    shutil.copy(folder / 'test' / 'up' / '0.mp4',
                root / '20bn-something-something-v2' / f'{name}.webm')
  built = data.build(config.data)
  assert built.classes == ('Closing something', 'Holding something')
  for split, expected in ((built.train, [1, 0]), (built.test, [0])):
    _, label, mask = read(split)
    assert label[mask > 0].tolist() == expected


@pytest.mark.parametrize('changed, match', [
    (dict(labels={'Holding something': '2'}), 'number its classes from 0'),
    (dict(train=[{'id': '7', 'template': 'Eating [something]'}]),
     "no class 'Eating something'"),
    (dict(train=[{'template': 'Holding [something]'}]), "has no 'id'"),
    (dict(validation={}), 'holds no list')])
def test_what_is_wrong_with_something_is_told(tmp_path, changed, match):
  config = config_of(something(tmp_path, **changed), 'something')
  with pytest.raises(data.DataError, match=match):
    data.build(config.data)


@pytest.mark.parametrize('field, value', [
    ('frames', 0), ('sampling', 'thick'), ('stride', 0), ('test_crops', 2),
    ('max_broken', 2.0), ('short_side', -1)])
def test_bad_fields_are_named(folder, field, value):
  with pytest.raises(data.DataError, match=f'data.video.{field}'):
    data.build(config_of(folder, **{field: value}).data)


def test_the_classes_are_each_other_backwards():
  for label in range(0, len(scenes.CLASSES), 2):
    scene = scenes.SCENES[label // 2]
    assert scenes.CLASSES[label:label + 2] == scene.classes
  ways = {0: [], 1: []}
  for k in range(6):
    for label in (0, 1):
      clip = scenes.draw(f'x{k}', label).astype(int)
      moved = np.abs(clip - np.median(clip, 0)).sum(-1) > 60
      columns = (moved * np.arange(64)).sum((1, 2)) / moved.sum((1, 2))
      ways[label].append(columns[-1] - columns[0])
  assert min(ways[0]) > 20 and max(ways[1]) < -20


def test_the_rendered_source_is_written_once_and_mended(
    tmp_path, monkeypatch):
  monkeypatch.setattr(motion, 'SIZES', {'train': 16, 'val': 8, 'test': 8})
  config = config_of(tmp_path, 'motion').data
  config.val = 'val'
  built = data.build(config)
  _, label, mask = read(built.val, batch_size=8)
  assert label.tolist() == list(range(8)) and mask.all()
  files = sorted((tmp_path / 'motion-1').rglob('*.mp4'))
  before = [f.read_bytes() for f in files]
  files[3].write_bytes(b'cut')
  files[4].unlink()
  data.build(config)
  assert [f.read_bytes() for f in files] == before


def test_a_probe_of_videos_is_the_same_cached_or_not(
    folder, weights, tmp_path):
  config = tiny.config(weights, pool='mean')
  config.side.name = 'linear'
  config.data = config_of(
      folder, frames=2, test_clips=2, sampling='dense').data
  config.train.update(dict(batch_size=8, eval_batch_size=8, epochs=1.0))
  losses = []
  for mode in ('off', 'ram'):
    config.cache.mode = mode
    result = train.run(config, tmp_path / mode)
    # Two views of each, which count once.
    assert result['test_examples'] == 10
    losses.append(result['test_loss'])
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)
  # A clip that cannot be read is masked when its features come from a cache.
  built = build.build(config)
  _, batches_of = inputs.open_(config, built)
  masks = [b.mask for b in itertools.islice(batches_of.train(0), 5)]
  assert np.sum(masks) == 40 - 4
  # So it is counted again by whoever finds these features.
  config.cache.mode, config.cache.path = 'disk', str(tmp_path / 'cache')
  for _ in range(2):
    built = built._replace(dataset=data.build(config.data))
    inputs.open_(config, built)
    assert built.dataset.broken['train'] == 1
  config.data.video.max_broken = 0.05
  with pytest.raises(data.DataError, match='max_broken'):
    inputs.open_(config, built._replace(dataset=data.build(config.data)))
  config.data.video.max_broken = 0.2
  config.cache.mode, config.data.video.test_clips = 'off', 3
  built = built._replace(dataset=data.build(config.data))
  with pytest.raises(data.DataError, match='eval_batch_size'):
    inputs.open_(config, built)


def test_losa_reads_clips(backbone):
  config = config_lib.default()
  made = method.build(config, backbone._replace(frames=4), 3)
  clips = jax.ShapeDtypeStruct((2, 4, SIZE, SIZE, 3), np.uint8)
  params = jax.eval_shape(made.init, jax.random.key(0), backbone.frozen, clips)
  assert params['side']['time_2_up'].shape == (config.side.rank, 4)
  logits = jax.eval_shape(made.predict, params, backbone.frozen, clips)
  assert logits.shape == (2, 3)
