"""Decodes Tiny-ImageNet's JPEGs once, into arrays that training maps.

    python -m experiments.pretrain.prepare --source=tiny-imagenet-200 --out=DIR
"""

import argparse
import pathlib

import numpy as np
from PIL import Image


def pixels(path: pathlib.Path) -> np.ndarray:
  """One image as (64, 64, 3) bytes; the few grey ones get three channels."""
  with Image.open(path) as image:
    return np.asarray(image.convert('RGB'))


def list_split(source: pathlib.Path, split: str) -> list[tuple]:
  """(path, class) of every image; classes are numbered by sorted WordNet id."""
  names = sorted(p.name for p in (source / 'train').iterdir())
  number = {name: i for i, name in enumerate(names)}
  if split == 'train':
    return [
        (path, number[name]) for name in names
        for path in sorted((source / 'train' / name / 'images').iterdir())]
  lines = (source / 'val' / 'val_annotations.txt').read_text().splitlines()
  rows = [line.split('\t') for line in lines]
  return [(source / 'val' / 'images' / r[0], number[r[1]]) for r in rows]


def write_split(source: pathlib.Path, out: pathlib.Path, split: str):
  """Writes `<split>_images.npy` (N, 64, 64, 3) and `<split>_labels.npy`."""
  rows = list_split(source, split)
  images = np.lib.format.open_memmap(
      out / f'{split}_images.npy', 'w+', np.uint8, (len(rows), 64, 64, 3))
  for i, (path, _) in enumerate(rows):
    images[i] = pixels(path)
  images.flush()
  labels = np.array([label for _, label in rows], np.int32)
  np.save(out / f'{split}_labels.npy', labels)
  print(f'{split}: {len(rows)} images')


def main():
  """Reads the flags, writes both splits that have labels."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--source', type=pathlib.Path, required=True,
                      help='the unpacked tiny-imagenet-200 folder')
  parser.add_argument('--out', type=pathlib.Path, required=True,
                      help='where the arrays go (1.4 GB), outside the project')
  flags = parser.parse_args()
  flags.out.mkdir(parents=True, exist_ok=True)
  for split in ('train', 'val'):
    write_split(flags.source, flags.out, split)


if __name__ == '__main__':
  main()
