"""What a run trained as one safetensors file with its config inside."""

import json
import os
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from ml_collections import ConfigDict

from lst import cache, side
from lst import config as config_lib
from lst.backbones.stacked import BLOCKS, unstacked
from lst.backbones.streamed import OnDisk

FORMAT = 'lst-side-1'


class Adapted(NamedTuple):
  """What a run trained, read back.

  Attributes:
    network: the module; `network.apply({'params': params}, features)`. None of
      a method that changes the backbone itself: see `lst.classifier`.
    params: what was trained.
    classes: class names, by label.
    about: what it was trained on: the backbone, its input size and
      normalisation, the whole config, versions.
  """

  network: side.SideNetwork | None
  params: dict
  classes: tuple[str, ...]
  about: dict[str, Any]


def save(
    path: epath.PathLike, params: dict, classes: tuple[str, ...], about: dict
) -> None:
  """Writes what was trained.

  Args:
    path: of the file; it is replaced in one move, never half written.
    params: of the side network, or of another method.
    classes: class names, by label.
    about: JSON-able; has to hold 'side' (the config), 'cls' and 'prefix'.
  """
  flat = flax.traverse_util.flatten_dict(jax.device_get(params), sep='/')
  # `np.ascontiguousarray` would make a vector of a scalar.
  flat = {name: np.array(x, order='C') for name, x in flat.items()}
  metadata = {
      'format': FORMAT, 'about': json.dumps(about),
      'classes': json.dumps(list(classes))}
  path = epath.Path(path)
  temporary = path.with_name(path.name + '.part')
  temporary.write_bytes(safetensors.numpy.save(flat, metadata))
  temporary.replace(path)


def load(path: str | os.PathLike, backbone: Any = None) -> Adapted:
  """Reads what a run left as `side.safetensors`.

  Args:
    path: of the file.
    backbone: whose features it is to read, as `lst.backbones.backbone.build`
      gives it; None checks nothing, as for features from anywhere else.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is damaged or no side network of this package, or was
      trained on another backbone, also if that has the same name and shapes.

  Example:
    network, params, classes, about = lst.load('runs/digits/side.safetensors')
    logits = network.apply({'params': params}, features)
  """
  adapted = _read(path)
  if backbone is not None:
    check(os.fspath(path), adapted.about, backbone, digest(backbone.frozen))
  return adapted


def _read(path: str | os.PathLike) -> Adapted:
  path = epath.Path(path)
  if not path.exists():
    raise FileNotFoundError(f'{path}: no such file')
  if path.is_dir():
    raise ValueError(f'{path} is a folder: give the side.safetensors in it')
  try:
    content = path.read_bytes()
    flat = safetensors.numpy.load(content)
    size = int.from_bytes(content[:8], 'little')
    metadata = json.loads(content[8:8 + size]).get('__metadata__', {})
  except (safetensors.SafetensorError, ValueError) as error:
    raise ValueError(f'{path} is no whole safetensors file: {error}') from error
  if metadata.get('format') != FORMAT:
    raise ValueError(
        f'{path} is no side network: its format is '
        f'{metadata.get("format")!r}, not {FORMAT!r}')
  try:
    about, classes = (json.loads(metadata[k]) for k in ('about', 'classes'))
    network = _network(about, len(classes))
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise ValueError(
        f'{path} does not say what network it holds, or one of another version '
        f'of lst: {error}') from error
  params = flax.traverse_util.unflatten_dict(
      {name: jnp.asarray(x) for name, x in flat.items()}, sep='/')
  return Adapted(network, params, tuple(classes), about)


def digest(weights: Any) -> str | None:
  """The sha256 of a backbone's weights; None if this host has not all of them.

  Blocks in a stack, and those that stay on disk, have that of blocks in a loop.
  """
  on_disk = weights.get(BLOCKS) if weights else None
  if isinstance(on_disk, OnDisk):
    return np.asarray(on_disk.digest).tobytes().hex()
  leaves = jax.tree.leaves(weights)
  here = all(
      x.is_fully_addressable or x.is_fully_replicated for x in leaves
      if isinstance(x, jax.Array))
  return cache.digest_of(_in_a_loop(weights)) if leaves and here else None


def _in_a_loop(weights: dict) -> dict:
  """The weights with their blocks by name, as views of a stack of them."""
  if BLOCKS not in weights:
    return weights
  stack = jax.tree.map(np.asarray, weights[BLOCKS])
  return unstacked(
      weights | {BLOCKS: stack}, len(jax.tree.leaves(stack)[0]),
      lambda blocks, k: jax.tree.map(lambda x: x[k], blocks))


def check(
    path: str, about: dict[str, Any], backbone: Any, weights: str | None
) -> None:
  """Raises ValueError unless a side network was trained on this backbone.

  Args:
    path: of its file, for the message.
    about: of `Adapted`.
    backbone: as `lst.backbones.backbone.build` gives it.
    weights: `digest` of its weights; None does not compare them.
  """
  here = {
      'backbone': backbone.name,
      'image_size': list(backbone.image_size),
      'normalisation': {
          'mean': list(backbone.mean), 'std': list(backbone.std)},
      'cls': backbone.cls,
      'prefix': backbone.prefix,
      'dtype': backbone.dtype,
      'quantise': backbone.quantise,
  }
  flat = about.get('config', {})
  there = about | {
      'dtype': flat.get('backbone.dtype'),
      'quantise': flat.get('backbone.quantise', 'none')}
  for field, value in here.items():
    if there.get(field) != value:
      raise ValueError(
          f'{path} was trained with {field} {there.get(field)!r}, but here it '
          f'is {value!r}: use it with a backbone of its own')
  trained = about.get('sha256')
  if flat.get('backbone.blocks', 'loop') not in ('scan', 'host'):
    # Files of earlier versions say it of the stack itself, or not at all.
    trained = trained or about.get('weights')
  if trained and weights and trained != weights:
    raise ValueError(
        f'{path} was trained on other weights: {backbone.name} had the sha256 '
        f'{trained[:16]}... then and has {weights[:16]}... here. Its name and '
        'shapes are the same; load the checkpoint that it was trained on')


def _network(about: dict[str, Any], classes: int) -> side.SideNetwork | None:
  config = config_lib.default().side
  config.update(ConfigDict(about['side']))
  if about.get('config', {}).get('method', 'side') != 'side':
    return None
  # Files of earlier versions have but frames, which were all times.
  times = about.get('times', about.get('frames', 0))
  return side.build(config, classes, about['cls'], about['prefix'], times)
