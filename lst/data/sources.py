"""The table of sources, and `build`, which reads one as a config says."""

from collections.abc import Callable

from lst.data import csv_file, digits, folder, procedural, tfds, vtab
from lst.data.examples import Data, DataError, Source, Split
from lst.data.splits import labels_of, nearest, select, shared
from lst.data.video import files, motion, something
from lst.data.video.clips import Ledger, Videos
from lst.data.video.sampling import Sampling
from lst.staging import local

# From the config to what the source offers. Its fields stop here.
SOURCES: dict[str, Callable[..., Source]] = {
  'digits': lambda c: digits.source(),
  'tfds': lambda c: tfds.source(
    c.task, local(c.path), c.image_key, c.label_key, c.reading
  ),
  'folder': lambda c: folder.source(local(c.path), c.classes),
  'vtab': lambda c: vtab.source(local(c.path), c.task, c.classes),
  'csv': lambda c: csv_file.source(local(c.path), c.classes),
  'procedural': lambda c: procedural.source(c.task),
  'video_folder': lambda c: files.folder_source(local(c.path), c.classes),
  'video_tfds': lambda c: tfds.source(
    c.task, local(c.path), c.image_key, c.label_key, video=True
  ),
  'video_csv': lambda c: files.csv_source(local(c.path), c.classes),
  'something': lambda c: something.source(local(c.path)),
  'motion': lambda c: motion.source(c.path),
}
# Those of videos, of which each example is a clip.
OF_VIDEOS = ('video_folder', 'video_tfds', 'video_csv', 'something', 'motion')


def build(config) -> Data:
  """Opens the source that a config names and takes its splits.

  Args:
    config: `name` (a key of `SOURCES`), `path` (gs:// too), `task`, `classes`
      (a file of class names), `image_key`, `label_key` and `reading` (of a TFDS
      dataset), the split strings `train`, `val` and `test` ('' means none),
      `allow_overlap`, whether they may share examples, and `video` (of videos).

  Returns:
    The splits, nothing of which is read or decoded yet.

  Raises:
    DataError: an unknown source, task or split, files that are missing or
      malformed, or training examples among those that evaluate.

  >>> import types
  >>> config = types.SimpleNamespace(
  ...   name='procedural', task='count', allow_overlap=False,
  ...   train='train[:80%]', val='train[80%:]', test='test')
  >>> data = build(config)
  >>> data.train.size, data.val.size, data.test.size
  (800, 200, 2000)
  """
  if config.name not in SOURCES:
    raise DataError(
      f'config.data.name is {config.name!r}, but the sources are: '
      f'{", ".join(SOURCES)}.{nearest(config.name, SOURCES)}'
    )
  if not config.train:
    raise DataError("config.data.train is empty: set it, such as to 'train'.")
  source = SOURCES[config.name](config)
  train, val, test = (
    select(text, source.splits, source.name) if text else None
    for text in (config.train, config.val, config.test))
  others, overlap = {'val': val, 'test': test}, config.allow_overlap
  _check(train, others, len(source.classes), overlap)
  if source.video:
    train, val, test = _videos(config.video, (train, val, test))
  return Data(train, val, test, source.classes, source.name)


def _check(train, others, classes: int, overlap: bool) -> None:
  """Raises DataError where an evaluation would say nothing."""
  if train.size > classes:
    _check_classes(train, others)
  if not overlap:
    _check_apart(train, others)


def _check_apart(train, others) -> None:
  """Raises DataError where a split that evaluates holds what is trained on."""
  for name, split in others.items():
    count = 0 if split is None else shared(train, split)
    if count:
      raise DataError(
        f'config.data.train={train.name!r} and config.data.{name}='
        f'{split.name!r} share {count} examples: accuracy on those says '
        'nothing. Cut them apart, such as train[:80%] and train[80%:], or set '
        'config.data.allow_overlap=True to have it so.'
      )


def _check_classes(train, others) -> None:
  """Raises DataError where nothing that is evaluated has a class of training.

  So it is with slices of a list that is sorted by class. Sources whose labels
  are not at hand are not looked at, nor is what chance may bring about.
  """
  known = labels_of(train)
  for name, split in others.items():
    found = labels_of(split) if split is not None else set()
    if known and found and not known & found:
      raise DataError(
        f'config.data.train={train.name!r} and config.data.{name}='
        f'{split.name!r} have no class in common: is the list sorted by class? '
        'Shuffle its lines, or name the split of each in the list.'
      )


def _videos(config, splits: tuple[Split | None, ...]) -> list[Split | None]:
  """The splits, each with how clips are cut out of it and a ledger."""
  sampling = Sampling(
    config.frames, config.sampling, config.stride, config.short_side,
    config.test_clips, config.test_crops,
  )
  sampling.check()
  if not 0 <= config.max_broken <= 1:
    raise DataError(
      f'config.data.video.max_broken is {config.max_broken}: it is a share, 0 '
      'to 1.'
    )
  return [
    split and split._replace(video=Videos(
      sampling, Ledger(split.name, split.size, config.max_broken)
    ))
    for split in splits
  ]
