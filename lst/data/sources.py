"""The table of sources, and `build`, which reads one as a config says."""

import itertools
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
# Those whose class names may be given by a file.
NAMED = ('folder', 'vtab', 'csv', 'video_folder', 'video_csv')
# Those of videos, of which each example is a clip.
OF_VIDEOS = ('video_folder', 'video_tfds', 'video_csv', 'something', 'motion')


def build(config) -> Data:
  """Opens the source that a config names and takes its splits.

  Args:
    config: `name` (a key of `SOURCES`), `path` (gs:// too), `task`, `classes`
      (a file of class names, of those in `NAMED`), `image_key`, `label_key` and
      `reading` (of a TFDS dataset), the split strings `train`, `val` and `test`
      ('' means none), `allow_overlap`, whether any two may share examples,
      `seed`, `workers`, `prefetch` (see `pipeline`), and `video` (of videos).

  Returns:
    The splits, nothing of which is read or decoded yet.

  Raises:
    DataError: an unknown source, task or split, a field out of range or not of
      this source, files missing or malformed, or examples in two splits.

  >>> import types
  >>> config = types.SimpleNamespace(
  ...   name='procedural', task='count', classes='', allow_overlap=False,
  ...   train='train[:80%]', val='train[80%:]', test='test', seed=-1, workers=2,
  ...   prefetch=4)
  >>> data = build(config)
  >>> data.train.size, data.val.size, data.test.size
  (800, 200, 2000)
  """
  _check_fields(config)
  source = SOURCES[config.name](config)
  train, val, test = (
    select(text, source.splits, source.name) if text else None
    for text in (config.train, config.val, config.test))
  _check(
    {'train': train, 'val': val, 'test': test}, len(source.classes),
    config.allow_overlap)
  if source.video:
    train, val, test = _videos(config.video, (train, val, test))
  return Data(train, val, test, source.classes, source.name)


def _check_fields(config) -> None:
  """Raises DataError where a field is none, or would count for nothing."""
  if config.name not in SOURCES:
    raise DataError(
      f'config.data.name is {config.name!r}, but the sources are: '
      f'{", ".join(SOURCES)}.{nearest(config.name, SOURCES)}'
    )
  if not config.train:
    raise DataError("config.data.train is empty: set it, such as to 'train'.")
  if config.classes and config.name not in NAMED:
    raise DataError(
      f'config.data.classes is {config.classes!r}, but the source '
      f'{config.name} brings the names of its classes: leave it empty. The '
      f'sources that take such a file are: {", ".join(NAMED)}.'
    )
  for field, value, least, meaning in (
    ('seed', config.seed, -1, 'which stands for config.seed'),
    ('workers', config.workers, 0, 'for no thread beside that of the loop'),
    ('prefetch', config.prefetch, 0, 'for no more than one for each worker'),
  ):
    if value < least:
      raise DataError(
        f'config.data.{field} is {value}: set it to {least}, {meaning}, or '
        'more.'
      )


def _check(
  splits: dict[str, Split | None], classes: int, overlap: bool
) -> None:
  """Raises DataError where an evaluation would say nothing."""
  there = {name: split for name, split in splits.items() if split is not None}
  if there['train'].size > classes:
    _check_classes(there)
  if not overlap:
    _check_apart(there)


def _check_apart(splits: dict[str, Split]) -> None:
  """Raises DataError where two of the splits share examples."""
  for (one, a), (other, b) in itertools.combinations(splits.items(), 2):
    count = shared(a, b)
    if count:
      why, cut = (
        ('accuracy on those says nothing', 'train') if one == 'train'
        else ('what is chosen by those is tested on them, too', 'test')
      )
      raise DataError(
        f'config.data.{one}={a.name!r} and config.data.{other}={b.name!r} '
        f'share {count} examples: {why}. Cut them apart, such as '
        f'{cut}[:80%] and {cut}[80%:], or set config.data.allow_overlap=True '
        'to have it so.'
      )


def _check_classes(splits: dict[str, Split]) -> None:
  """Raises DataError where nothing that is evaluated has a class of training.

  So it is with slices of a list that is sorted by class. Sources whose labels
  are not at hand are not looked at, nor is what chance may bring about.
  """
  known = labels_of(splits['train'])
  for name, split in splits.items():
    found = labels_of(split)
    if known and found and not known & found:
      raise DataError(
        f'config.data.train={splits["train"].name!r} and config.data.{name}='
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
