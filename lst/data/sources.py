"""The table of sources, and `build`, which reads one as a config says."""

from collections.abc import Callable

from lst.data import csv_file, digits, folder, procedural, tfds, vtab
from lst.data.examples import Data, DataError, Source, Split
from lst.data.splits import nearest, select
from lst.data.video import files, motion
from lst.data.video.clips import Ledger, Videos
from lst.data.video.sampling import Sampling

# From the config to what the source offers. Its fields stop here.
SOURCES: dict[str, Callable[..., Source]] = {
  'digits': lambda c: digits.source(),
  'tfds': lambda c: tfds.source(c.task, c.path, c.image_key, c.label_key),
  'folder': lambda c: folder.source(c.path, c.classes),
  'vtab': lambda c: vtab.source(c.path, c.task, c.classes),
  'csv': lambda c: csv_file.source(c.path, c.classes),
  'procedural': lambda c: procedural.source(c.task),
  'video_folder': lambda c: files.folder_source(c.path, c.classes),
  'video_csv': lambda c: files.csv_source(c.path, c.classes),
  'motion': lambda c: motion.source(c.path),
}


def build(config) -> Data:
  """Opens the source that a config names and takes its splits.

  Args:
    config: `name` (a key of `SOURCES`), `path`, `task`, `classes` (a file of
      class names), `image_key` and `label_key` (features of a TFDS dataset),
      the split strings `train`, `val` and `test` ('' means none), and `video`,
      which only sources of videos take.

  Returns:
    The splits, nothing of which is read or decoded yet.

  Raises:
    DataError: an unknown source, task or split, or files that are missing or
      malformed.

  >>> import types
  >>> config = types.SimpleNamespace(
  ...   name='procedural', task='count', train='train[:80%]',
  ...   val='train[80%:]', test='test')
  >>> data = build(config)
  >>> data.train.size, data.val.size, data.test.size
  (800, 200, 2000)
  """
  if config.name not in SOURCES:
    raise DataError(
      f'data.name is {config.name!r}, but the sources are: '
      f'{", ".join(SOURCES)}.{nearest(config.name, SOURCES)}'
    )
  if not config.train:
    raise DataError("data.train is empty: name a split, such as 'train'.")
  source = SOURCES[config.name](config)
  train, val, test = (
    select(text, source.splits, source.name) if text else None
    for text in (config.train, config.val, config.test)
  )
  if source.video:
    train, val, test = _videos(config.video, (train, val, test))
  return Data(train, val, test, source.classes, source.name)


def _videos(config, splits: tuple[Split | None, ...]) -> list[Split | None]:
  """The splits, each with how clips are cut out of it and a ledger."""
  sampling = Sampling(
    config.frames, config.sampling, config.stride, config.short_side,
    config.test_clips, config.test_crops,
  )
  sampling.check()
  if not 0 <= config.max_broken <= 1:
    raise DataError(
      f'data.video.max_broken is {config.max_broken}: it is a share, 0 to 1.'
    )
  return [
    split and split._replace(video=Videos(
      sampling, Ledger(split.name, split.size, config.max_broken)
    ))
    for split in splits
  ]
