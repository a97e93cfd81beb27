"""A checkpoint of any family to block files, once.

Kernels are turned, cast and quantised here and not in every pass, and a pass
reads one file after another from its start to its end. It takes a copy of the
weights on disk, in the type that they are computed in.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import filelock
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from lst import digest
from lst.backbones import block_files, placing
from lst.backbones.block_files import Packed, unpacked
from lst.backbones.vit import ViT

# Raised whenever the same checkpoint would give other files.
VERSION = 2
_BLOCK = re.compile(r'block_(\d+)/(.*)')


def root_of(path: str = '') -> pathlib.Path:
  """The folder of all block files: `path`, $LST_BLOCKS or ~/.cache/lst/blocks.
  """
  path = path or os.environ.get('LST_BLOCKS') or '~/.cache/lst/blocks'
  return pathlib.Path(path).expanduser().absolute()


def converted(
    root: pathlib.Path, identity: dict[str, Any], vit: ViT, kind: str,
    shapes: dict, weights: Iterable[tuple[str, np.ndarray]],
) -> block_files.Files:
  """The block files of a checkpoint, made if they are not there.

  Args:
    root: folder of all of them.
    identity: `loading.identity` of the checkpoint.
    vit: its model, in the dtype that it computes in.
    kind: a key of `quantised.KINDS`, or 'none'.
    shapes: of all weights, as `placing.shapes` gives them for a loop.
    weights: (path, array) pairs, as `loading.opened` gives them; read only if
      files are missing, and a block is held until its file is written.

  Raises:
    OSError: the disk is too small or cannot be written.
  """
  made_of = {
      'version': VERSION, 'checkpoint': identity,
      'dtype': jnp.dtype(vit.dtype).name, 'quantise': kind,
      'by': 'none' if kind == 'none' else importlib.metadata.version('qwix'),
      'weights': hashlib.sha256(str(shapes).encode()).hexdigest()}
  name = hashlib.sha256(
      json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:20]
  folder = root / name
  folder.mkdir(parents=True, exist_ok=True)
  # Processes of a machine that want the same share it.
  with filelock.FileLock(f'{folder}.lock'):
    try:
      return block_files.Files(folder)
    except (FileNotFoundError, ValueError) as error:
      if not isinstance(error, FileNotFoundError):
        print(error)
    _make(folder, made_of, vit, kind, weights, shapes)
    return block_files.Files(folder)


def _make(folder, made_of, vit, kind, weights, shapes) -> None:
  (folder / block_files.ABOUT).unlink(missing_ok=True)
  sizes = [
      math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes)]
  there = sum(path.stat().st_size for path in folder.glob('*.safetensors'))
  free = shutil.disk_usage(folder).free + there
  if sum(sizes) > free:
    raise OSError(
        f'the blocks take up to {sum(sizes) / 2**30:,.1f} GiB and {folder} has '
        f'{free / 2**30:,.1f} GiB free: make room, or name another folder in '
        'config.backbone.blocks_path')
  files = {}
  for name, tree in _by_file(weights, vit, kind, shapes):
    files[name] = block_files.write(folder / name, tree)
    del tree
  about = {**made_of, 'files': files}
  about['sha256'] = _digest(block_files.Files(folder, about))
  block_files.write_about(folder, about)


def _by_file(weights, vit, kind, shapes) -> Iterator[tuple[str, dict]]:
  """(name, weights) of each file, as soon as all of it have come."""
  sizes = {
      k: len(jax.tree.leaves(tree)) for k, tree in shapes.items()}
  pending: dict[str, dict] = {}
  rest = {}
  for path, array in weights:
    found = _BLOCK.match(path)
    leaf = placing.leaf(path, array, vit.dtype, kind if found else 'none')
    # Not one of those who read on holds what is written.
    del array
    leaf = jax.tree.map(np.asarray, leaf)
    if not found:
      rest[path] = leaf
      continue
    block = pending.setdefault(f'block_{found[1]}', {})
    block[found[2]] = leaf
    if len(jax.tree.leaves(block)) == sizes[f'block_{found[1]}']:
      tree = flax.traverse_util.unflatten_dict(
          pending.pop(f'block_{found[1]}'), sep='/')
      yield block_files.name_of(int(found[1])), tree
      del block, tree
  if pending:
    raise ValueError(f'the checkpoint lacks weights of {", ".join(pending)}')
  yield block_files.REST, flax.traverse_util.unflatten_dict(rest, sep='/')


def _digest(files: block_files.Files) -> str:
  """What `digest.of_tree` gives of the same weights as a loop has them."""
  def parts():
    rest = files.read(block_files.REST)
    blocks = {f'block_{k}': k for k in range(files.depth)}
    for name in sorted(rest.keys() | blocks.keys()):
      tree = rest.get(name)
      if tree is None:
        tree = files.read(block_files.name_of(blocks[name]))
      yield {name: jax.tree.map(
          lambda x: unpacked(x) if isinstance(x, Packed) else x, tree)}

  return digest.of_parts(parts())
