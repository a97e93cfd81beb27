"""Images in one folder per class, with or without a folder per split."""

import hashlib
import os

from lst.data.examples import DataError, Source
from lst.data.files import Files, read_classes, require_folder
from lst.data.splits import nearest

SUFFIXES = (
  '.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff',
  '.webp',
)
LAYOUT = 'Lay the files out as <split>/<class>/* or as <class>/*.'


def source(
  path: str, classes: str = '', suffixes: tuple[str, ...] = SUFFIXES
) -> Source:
  """Reads the names of the images; labels follow the sorted class names.

  The order is random, the same each time, and every class is spread evenly over
  it: a slice of many more images than classes has its share of each.

  Args:
    path: a folder of <split>/<class>/* or, as the one split 'all', of
      <class>/*. Names that begin with a dot are not looked at.
    classes: a file of class names, which then gives their order and may name
      classes that a split lacks.
    suffixes: that the files may have.

  Raises:
    DataError: no images, a class folder that is empty or holds anything but
      images, or splits whose classes differ.
  """
  path = require_folder(path, 'The source folder')
  top = _folders(path)
  if any(_folders(folder) for folder in top.values()):
    folders = {name: _folders(folder) for name, folder in top.items()}
  else:
    folders = {'all': top}
  if not top or not all(folders.values()):
    bare = [name for name, found in folders.items() if not found]
    raise DataError(f'{path}: no class folders in {", ".join(bare)}. {LAYOUT}')
  known = read_classes(classes) if classes else _common(path, folders)
  splits = {
    name: _read(found, known, suffixes) for name, found in folders.items()
  }
  name = os.path.basename(os.path.abspath(path))
  return Source(f'folder/{name}', splits, known)


def _folders(path: str) -> dict[str, str]:
  """The subfolders by name, sorted."""
  return {
    entry.name: entry.path
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name)
    if entry.is_dir() and not entry.name.startswith('.')
  }


def _common(path: str, folders) -> tuple[str, ...]:
  """The class names, which all splits must share."""
  first, *others = folders
  for other in others:
    differ = sorted(set(folders[first]) ^ set(folders[other]))
    if differ:
      raise DataError(
        f'{path}: the splits {first!r} and {other!r} differ in the classes '
        f'{", ".join(differ)}. Correct the folder names, or list all classes '
        'in a file and set config.data.classes to it.'
      )
  return tuple(folders[first])


def _read(
  folders: dict[str, str], known: tuple[str, ...], suffixes: tuple[str, ...]
) -> Files:
  labels = {name: label for label, name in enumerate(known)}
  places, paths, targets = [], [], []
  for name, folder in folders.items():
    if name not in labels:
      raise DataError(
        f'{folder}: {name!r} is not in the list of class names.'
        f'{nearest(name, known)} Add it there or rename the folder.'
      )
    images = sorted(
      (_dice(f'{name}/{image}'), image) for image in _images(folder, suffixes))
    # One in each n-th part of the whole, somewhere in it.
    places += [(k + _dice(f'{name}/{image} in its part')) / len(images)
               for k, (_, image) in enumerate(images)]
    paths += [os.path.join(folder, image) for _, image in images]
    targets += [labels[name]] * len(images)
  order = sorted(range(len(places)), key=places.__getitem__)
  return Files([paths[k] for k in order], [targets[k] for k in order])


def _dice(text: str) -> float:
  """From 0 to 1, of the text alone, and as good as random."""
  digest = hashlib.blake2b(os.fsencode(text), digest_size=8).digest()
  return int.from_bytes(digest, 'big') / 2**64


def _images(folder: str, suffixes: tuple[str, ...]) -> list[str]:
  names = sorted(n for n in os.listdir(folder) if not n.startswith('.'))
  if not names:
    raise DataError(
      f'{folder} is a class without files. Put some there or remove it.'
    )
  for name in names:
    if os.path.splitext(name)[1].lower() not in suffixes:
      raise DataError(
        f'{os.path.join(folder, name)} has none of the endings '
        f'{" ".join(suffixes)}. Move it out of the class folder. {LAYOUT}'
      )
  return names
