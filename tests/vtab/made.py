"""Ready folders and TFDS datasets for the tests: real layouts, tiny images."""

import io
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from lst.vtab import tasks


def images(folder: pathlib.Path, number: int = 8, size: int = 8) -> list[str]:
  """Writes some images; returns their paths as lists have them."""
  (folder / 'images').mkdir(parents=True)
  out = []
  for k in range(number):
    pixels = np.random.default_rng(k).integers(0, 256, (size, size, 3))
    out.append(f'images/{k}.png')
    Image.fromarray(pixels.astype(np.uint8)).save(folder / out[-1])
  return out


def folder(
    path: pathlib.Path, classes: int, test: int, number=8, size=8) -> None:
  """A ready VTAB-1k folder; its lines name the same few images again."""
  names = images(path, 3 * number, size)

  def lines(part: int, count: int) -> str:
    # A label goes with its image, so that there is something to learn.
    return ''.join(
        f'{names[part * number + k % number]} {k % number % classes}\n'
        for k in range(count))

  for name, text in (
      ('train800', lines(0, 800)), ('val200', lines(1, 200)),
      ('train800val200', lines(0, 800) + lines(1, 200)),
      ('test', lines(2, test))):
    (path / f'{name}.txt').write_text(text)
  (path / 'classes.txt').write_text('\n'.join(map(str, range(classes))))


def vtab(path: pathlib.Path) -> None:
  """All 19 as ready folders."""
  for row in tasks.ROWS:
    folder(path / row.name, row.classes, row.size)


def dataset(
    root: pathlib.Path, name: str, version: str, splits, value=0
) -> None:
  """A dataset under the real name, with the real features.

  Args:
    root: of prepared datasets.
    name: of TFDS, with its config.
    version: that it is to have.
    splits: {split: [features that are not zero, of each example]}.
    value: of all pixels.
  """
  features = tfds.builder(name, data_dir=root / 'none').info.features
  base, _, config = name.partition('/')

  def examples(values):
    for k, given in enumerate(values):
      yield k, _made(features, value) | given

  with tfds.core.registered.skip_registration():
    class Fake(tfds.core.GeneratorBasedBuilder):
      """The dataset."""

      VERSION = tfds.core.Version(version)
      BUILDER_CONFIGS = (
          [tfds.core.BuilderConfig(name=config)] if config else [])

      def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=features)

      def _split_generators(self, _):
        return {split: examples(values) for split, values in splits.items()}

      def _generate_examples(self):
        raise NotImplementedError

  Fake.name = base
  Fake(data_dir=root, file_format='array_record').download_and_prepare(
      file_format='array_record')


def png(height: int, width: int, channels: int, value: int) -> io.BytesIO:
  """An encoded image of one value: encoding an array takes TensorFlow."""
  pixels = np.full((height, width, channels), value, np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(
      file, 'PNG')
  file.seek(0)
  return file


def _made(features, value: int) -> dict:
  """An example with nothing in it."""
  out = {}
  for key, feature in features.items():
    if isinstance(feature, tfds.features.Image):
      height, width, channels = (n or 8 for n in feature.shape)
      out[key] = png(height, width, channels, value)
    elif isinstance(feature, tfds.features.ClassLabel):
      out[key] = 0
    elif isinstance(feature, tfds.features.Text):
      out[key] = 'a'
    elif isinstance(feature, tfds.features.Sequence):
      out[key] = []
    elif isinstance(feature, tfds.features.BBoxFeature):
      out[key] = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
    else:
      out[key] = np.zeros(feature.shape, feature.np_dtype)
  return out
