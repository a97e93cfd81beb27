"""Blocks of a backbone as files, one for each, as they are computed with.

    <root>/<20 digits of what they are of>/
      about.json             what they are of, the size and the sha256 of every
                             file, and its own checksum; written last
      rest.safetensors       the weights of no block
      block_000.safetensors  those of a block, cast and quantised; two values of
                             4 bits are one byte
"""

import hashlib
import json
import os
import pathlib
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np
import safetensors.numpy

from lst.backbones.quantised import Quantised

FORMAT = 'lst-blocks-1'
ABOUT, REST = 'about.json', 'rest.safetensors'
# What the name of a tensor of two values a byte ends with.
PACKED = ':int4'
_DTYPES = {
    'F32': np.float32, 'BF16': ml_dtypes.bfloat16, 'I8': np.int8,
    'U8': np.uint8, 'F8_E4M3': ml_dtypes.float8_e4m3fn}


class Packed:
  """A tensor of int4 as it lies in a file.

  Attributes:
    bytes: uint8 (D, F / 2); the lower half of each is the earlier value.
  """

  def __init__(self, bytes: np.ndarray):
    self.bytes = bytes


def name_of(block: int) -> str:
  """Of the file of a block."""
  return f'block_{block:03d}.safetensors'


def write(path: pathlib.Path, tree: dict) -> dict[str, Any]:
  """Writes weights in one move; returns {'bytes': size, 'sha256': digest}."""
  flat = {}
  for name, leaf in flax.traverse_util.flatten_dict(tree, sep='/').items():
    if not isinstance(leaf, Quantised):
      flat[name] = np.asarray(leaf)
      continue
    flat[f'{name}/scale'] = np.asarray(leaf.scale)
    values = np.asarray(leaf.values)
    packed = values.dtype == ml_dtypes.int4
    flat[f'{name}/values{PACKED * packed}'] = (
        _packed(values) if packed else values)
  content = safetensors.numpy.save(flat)
  return {'bytes': replace(path, content),
          'sha256': hashlib.sha256(content).hexdigest()}


def replace(path: pathlib.Path, content: bytes) -> int:
  """Writes a file in one move, so that it is never half there; its size."""
  temporary = path.with_name(path.name + '.part')
  with temporary.open('wb') as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)
  return len(content)


def _packed(values: np.ndarray) -> np.ndarray:
  halves = values.astype(np.int8).view(np.uint8) & 15
  return halves[:, 0::2] | (halves[:, 1::2] << 4)


def unpacked(packed: Packed) -> np.ndarray:
  """The int4 (D, F) of a tensor as it lies in a file."""
  halves = np.stack([packed.bytes & 15, packed.bytes >> 4], -1)
  values = (halves.astype(np.int8) ^ 8) - 8
  return values.reshape(len(values), -1).astype(ml_dtypes.int4)


class Files:
  """The files of one backbone, opened.

  A file is compared with its sha256 when this process first reads it. Files are
  read, not mapped: what cuts one meanwhile is told in words then, and reading
  ahead is what they are there for.

  Attributes:
    folder: that they are in.
    about: the content of about.json, which is read where it is not given.

  Raises:
    FileNotFoundError, ValueError: there are none, or not whole ones.
  """

  def __init__(
      self, folder: pathlib.Path, about: dict[str, Any] | None = None):
    self.folder, self.about = folder, about or read_about(folder)
    self._seen: set[str] = set()
    for name, facts in self.about['files'].items():
      path = folder / name
      size = path.stat().st_size if path.exists() else 'none'
      if size != facts['bytes']:
        raise ValueError(_damaged(
            path, f'{size} of {facts["bytes"]:,} bytes are there'))

  @property
  def depth(self) -> int:
    """Number of blocks."""
    return len(self.about['files']) - 1

  def read(self, name: str) -> dict:
    """The weights of a file, numpy arrays on one buffer.

    Raises:
      ValueError: it is missing, cut or changed.
    """
    path, facts = self.folder / name, self.about['files'][name]
    buffer = np.empty(facts['bytes'], np.uint8)
    try:
      with path.open('rb') as file:
        count = file.readinto(buffer)
        more = file.read(1)
    except OSError as error:
      raise ValueError(_damaged(path, str(error))) from error
    if count != facts['bytes'] or more:
      raise ValueError(_damaged(path, 'its size has changed'))
    if name not in self._seen:
      if hashlib.sha256(buffer).hexdigest() != facts['sha256']:
        # Gone, it is made anew by whoever comes next.
        path.unlink(missing_ok=True)
        raise ValueError(_damaged(path, 'its checksum is wrong'))
      self._seen.add(name)
    return _tree(buffer)


def _tree(buffer: np.ndarray) -> dict:
  """A safetensors file in memory as a tree; no tensor is copied."""
  start = 8 + int.from_bytes(buffer[:8].tobytes(), 'little')
  header = json.loads(buffer[8:start].tobytes())
  flat = {}
  for name, of in header.items():
    begin, end = of['data_offsets']
    x = buffer[start + begin:start + end].view(_DTYPES[of['dtype']])
    x = x.reshape(of['shape'])
    if name.endswith(PACKED):
      name, x = name.removesuffix(PACKED), Packed(x)
    flat[name] = x
  return _with_kernels(flax.traverse_util.unflatten_dict(flat, sep='/'))


def _with_kernels(tree: dict) -> Any:
  if set(tree) == {'values', 'scale'}:
    return Quantised(**tree)
  return {name: _with_kernels(x) if isinstance(x, dict) else x
          for name, x in tree.items()}


def read_about(folder: pathlib.Path) -> dict[str, Any]:
  """The content of about.json.

  Raises:
    FileNotFoundError, ValueError: there is none, or it is damaged.
  """
  path = folder / ABOUT
  try:
    content = json.loads(path.read_bytes())
    checksum = content.pop('checksum')
  except (AttributeError, KeyError, ValueError) as error:
    raise ValueError(_damaged(path, str(error))) from error
  if content.get('format') != FORMAT or checksum != _checksum(content):
    raise ValueError(_damaged(path, 'its checksum is wrong'))
  return content


def write_about(folder: pathlib.Path, content: dict[str, Any]) -> None:
  """Writes about.json in one move."""
  content = {'format': FORMAT, **content}
  content = json.loads(json.dumps(content))
  text = json.dumps({**content, 'checksum': _checksum(content)}, indent=2)
  replace(folder / ABOUT, (text + '\n').encode())


def _checksum(content: dict) -> str:
  return hashlib.sha256(
      json.dumps(content, sort_keys=True).encode()).hexdigest()


def _damaged(path: pathlib.Path, why: str) -> str:
  return (f'{path} is damaged or incomplete ({why}): the same command makes it '
          'anew from the checkpoint; look at the disk if it comes again')
