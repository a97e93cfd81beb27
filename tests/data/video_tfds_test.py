"""Videos in TFDS datasets: frames, or whole files, without TensorFlow."""

import io
import json
import logging
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.proto import feature_generated_pb2 as proto

from lst import config as config_lib
from lst import data
from lst.data.video import encoded, motion

pytest.importorskip('av')

SIZE, FRAMES = 16, 6
VALUES = [20 + 30 * k for k in range(FRAMES)]


def png(value):
  file = io.BytesIO()
  Image.fromarray(np.full((SIZE, SIZE, 3), value, np.uint8)).save(file, 'PNG')
  return file.getvalue()


class LstTinyClips(tfds.core.GeneratorBasedBuilder):
  """Each video twice: its frames, and a file; the last is broken, or empty."""

  VERSION = tfds.core.Version('1.0.0')
  file = b''

  def _info(self):
    features = {
      # The features of a prepared dataset call it by the name of TFDS.
      'video': tfds.features.Sequence(tfds.features.Text()),
      'file': tfds.features.Text(),
      'label': tfds.features.ClassLabel(names=['up', 'down']),
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _split_generators(self, _):
    return {'train': self._generate_examples(4)}

  def _generate_examples(self, number):
    for k in range(number):
      frames = [png(v) for v in (VALUES[::-1] if k % 2 else VALUES)]
      last = k == number - 1
      yield k, {
        'video': [] if last else frames, 'label': k % 2,
        'file': b'no video' if last else self.file,
      }


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """As `tfds.features.Video` would have written it."""
  tfds.disable_progress_bar()
  root = tmp_path_factory.mktemp('tfds')
  path = root / 'a.mp4'
  frames = np.uint8(VALUES)[:, None, None, None]
  motion.encode(
    str(path), np.broadcast_to(frames, (FRAMES, SIZE, SIZE, 3)), {'qp': '10'}
  )
  LstTinyClips.file = path.read_bytes()
  builder = LstTinyClips(data_dir=root, file_format='array_record')
  builder.download_and_prepare(file_format='array_record')
  features = root / 'lst_tiny_clips' / '1.0.0' / 'features.json'
  content = json.loads(features.read_text())
  shape = proto.Shape(dimensions=[-1, SIZE, SIZE, 3])
  video = proto.Feature(
    python_class_name=encoded.VIDEO,
    video=proto.VideoFeature(shape=shape, dtype='uint8', encoding_format='png'),
  )
  content['featuresDict']['features']['video'] = proto_json(video)
  features.write_text(json.dumps(content))
  return root


def proto_json(message):
  from google.protobuf import json_format

  return json_format.MessageToDict(message)


def config_of(root, **fields):
  config = config_lib.default().data
  config.update({
    'name': 'video_tfds', 'path': str(root), 'task': 'lst_tiny_clips',
    'image_key': 'video', 'test': '', **fields,
  })
  config.video.update({'frames': 3, 'max_broken': 0.25})
  return config


@pytest.mark.parametrize('key', ['video', 'file'])
def test_frames_and_files_are_read_and_what_is_broken_is_skipped(
  prepared, key, caplog
):
  built = data.build(config_of(prepared, image_key=key))
  assert built.classes == ('up', 'down') and built.frames == 3
  with caplog.at_level(logging.WARNING, 'lst.data'):
    [batch] = data.eval_batches(
      data.viewed(built.train), batch_size=4, image_size=(3, SIZE, SIZE)
    )
  # In the order of TFDS, which shuffles.
  clips = batch.inputs.mean((2, 3, 4))[batch.mask > 0]
  labels = batch.label[batch.mask > 0]
  assert sorted(labels) == [0, 0, 1] and built.broken['train'] == 1
  assert '1 of 4 videos' in caplog.text
  for clip, label in zip(clips, labels, strict=True):
    values = VALUES[::-1] if label and key == 'video' else VALUES
    np.testing.assert_allclose(clip, values[1::2], atol=4)
  assert 'tensorflow' not in sys.modules


def test_what_is_no_video_is_told(prepared):
  with pytest.raises(data.DataError, match=r"'label' is Class.*not Frames"):
    data.build(config_of(prepared, image_key='label'))
  with pytest.raises(data.DataError, match=r"'video' is Frames.*not Image"):
    data.build(config_of(prepared, name='tfds'))
