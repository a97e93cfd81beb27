"""Checkpoints of every family to one canonical tree, strict both ways."""

import collections
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import flax.traverse_util
import numpy as np

from lst import staging
from lst.backbones import sources, tensors
from lst.backbones.families import FAMILIES, own
from lst.backbones.families.family import HALF, Family, Given, Reading
from lst.backbones.presets import preset
from lst.backbones.vit import ViT

# Weights of this name are those of a preset, drawn at random: 'random:e/14'.
RANDOM = 'random:'
# Names that an error lists of each kind, before it only counts.
LISTED = 20


class Checkpoint(NamedTuple):
  """A pre-trained backbone.

  Attributes:
    name: the name it was asked for, or that of its file or folder.
    family: the naming scheme its file is in (`families.FAMILIES`).
    vit: the module, computing in float32; `vit.clone(dtype=...)` for another.
    params: {'block_0': {...}, ...} of numpy arrays, in the dtype of the file.
      `params['norm']` is the final norm, which `vit` itself does not apply.
      {} in what `opened` gives.
    image_size: (height, width) it takes by default.
    mean, std: of the RGB inputs in [0, 1] it was trained on.
    cls: whether token 0 is a CLS token.
    norm_eps: of the final norm; 0 = that of the others.
  """

  name: str
  family: str
  vit: ViT
  params: dict
  image_size: tuple[int, int]
  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  cls: bool
  norm_eps: float = 0.0


def load(source: str | os.PathLike) -> Checkpoint:
  """Loads a pre-trained ViT; nothing is ever unpickled.

  Args:
    source: a name of `sources.KNOWN` ('vit_b16_in21k', 'embedded', ...), a
      file (.npz, .safetensors, .safetensors.index.json) or a folder that holds
      one, `hf://org/name[/file][@revision]`, or `random:SIZE/PATCH`, a preset
      (`presets.preset`) with random weights. A `config.json` beside
      safetensors tells what shapes cannot; put one there. A gs:// path is
      copied first.

  Raises:
    FileNotFoundError: there is no such file, name or repository.
    OSError: the hub cannot be reached and the files are not in its cache.
    ValueError: the file is a pickle, damaged, of no known family, or has
      tensors missing, unexpected or mis-shaped; the error lists them.

  Example:
    checkpoint = load('dinov2_b14')
    x = checkpoint.vit.apply({'params': checkpoint.params}, images)
  """
  checkpoint, weights = opened(source)
  params = flax.traverse_util.unflatten_dict(dict(weights), sep='/')
  return checkpoint._replace(params=params)


def opened(
    source: str | os.PathLike
) -> tuple[Checkpoint, Iterator[tuple[str, np.ndarray]]]:
  """A checkpoint as `load` has it, its weights still in the file.

  Returns:
    (the checkpoint with no `params`, (path, array) of each weight, such as
    'block_0/mlp/up/kernel'). A tensor of the file is read when its turn comes
    and let go after its last use, so that who places each weight before taking
    the next never has two copies of the model.

  Raises:
    As `load` does; for tensors that cannot be read, while they are iterated.
  """
  if str(source).startswith(RANDOM):
    return _random(str(source))
  files = sources.locate(str(staging.local(source)))
  store = tensors.open_store(files.weights)
  given = Given(files.config, files.preprocessor, store.metadata)
  family, root = recognise(store.shapes, files.weights)
  full = {name.removeprefix(root): name for name in store.shapes}
  shapes = {name: store.shapes[full[name]] for name in full}
  try:
    reading = family.read(shapes, given)
    match(shapes, reading, family)
  except ValueError as error:
    raise _in_file(files, family, root, error) from error

  def weights():
    try:
      yield from _each(store, full, reading)
    except ValueError as error:
      raise _in_file(files, family, root, error) from error

  return Checkpoint(
      files.name, family.name, reading.vit, {}, reading.image_size,
      reading.mean, reading.std, reading.cls, reading.norm_eps), weights()


def identity(source: str | os.PathLike) -> dict:
  """What tells the weights of a source from others, without reading them.

  The paths, sizes and times of its files, and what lies beside them.

  Raises:
    As `load` does.
  """
  if str(source).startswith(RANDOM):
    return {'random': str(source), 'numpy': np.__version__}
  files = sources.locate(str(staging.local(source)))
  paths = [files.weights.resolve(), *tensors.shards(files.weights)]
  stats = [(str(path), path.stat()) for path in paths]
  return {
      'files': [[path, s.st_size, s.st_mtime_ns] for path, s in stats],
      'config': files.config, 'preprocessor': files.preprocessor}


def _random(source: str):
  """A preset with random weights, each drawn when its turn comes."""
  vit = preset(source.removeprefix(RANDOM))
  size = tuple(n * vit.patch for n in vit.grid[-2:])
  rng = np.random.default_rng(0)

  def weights():
    for name, shape in own.shapes_of(vit).items():
      scale = shape[0] ** -0.5 if name.endswith('kernel') else 0.02
      array = rng.standard_normal(shape, np.float32)
      array *= scale
      array += name.endswith('scale')
      yield name, array

  return Checkpoint(
      source, 'random', vit, {}, size, *HALF, vit.prefix > 0), weights()


def _in_file(files, family, root, error) -> ValueError:
  under = f', below {root!r}' if root else ''
  return ValueError(f'{files.weights} (family {family.name}{under}): {error}')


def recognise(shapes: dict, where) -> tuple[Family, str]:
  """(family, root) of a file's tensors: the first whose marks are all there."""
  for family in FAMILIES:
    mark = family.marks[0]
    roots = {name.removesuffix(mark) for name in shapes
             if re.search(rf'(^|[./]){re.escape(mark)}$', name)}
    roots = sorted(
        root for root in roots if all(root + m in shapes for m in family.marks)
        and family.rank in (0, len(shapes[root + mark])))
    if len(roots) > 1:
      raise ValueError(
          f'{where} holds {len(roots)} models of the family {family.name}, '
          f'below {", ".join(map(repr, roots))}: keep one of them')
    if roots:
      return family, roots[0]
  marks = '\n'.join(f'  {f.name}: {", ".join(f.marks)}' for f in FAMILIES)
  names = '\n'.join(f'  {n} {shapes[n]}' for n in list(shapes)[:LISTED])
  raise ValueError(
      f'{where} is of no family known here. It holds {len(shapes)} tensors:\n'
      f'{names}\nand these tell the families:\n{marks}')


def match(shapes: dict, reading: Reading, family: Family) -> None:
  """Raises a ValueError that lists each tensor on one side alone, or unlike."""
  needed = {k: s for row in reading.rows for k, s in row.sources.items()}
  missing = {k: f'{k} {s}' for k, s in needed.items() if k not in shapes}
  unlike = {
      k: f'{k} has shape {shapes[k]} in the file, the model needs {s}'
      for k, s in needed.items() if k in shapes and shapes[k] != tuple(s)}
  ignored = re.compile('|'.join(f'(?:{p})' for p in family.ignored) or r'(?!)')
  unexpected = {
      k: f'{k} {s}' for k, s in shapes.items()
      if k not in needed and not ignored.fullmatch(k)}
  kinds = (('missing', missing), ('unexpected', unexpected),
           ('mis-shaped', unlike))
  lists = [_listed(kind, found) for kind, found in kinds if found]
  if lists:
    v = reading.vit
    raise ValueError('\n'.join([
        f'does not hold the ViT it seems to ({v.depth} blocks of width '
        f'{v.width}, patches of {v.patch}):', *lists,
        'Take the original file, or cut it down to the vision transformer']))


def _listed(kind: str, found: dict[str, str]) -> str:
  lines = [f'  {line}' for line in list(found.values())[:LISTED]]
  if len(found) > LISTED:
    lines.append(f'  ... and {len(found) - LISTED} more')
  return '\n'.join([f'{kind} ({len(found)}):', *lines])


def _each(store: tensors.Store, full: dict, reading: Reading):
  """Each weight by its path; each tensor is read once, let go after its use."""
  uses = collections.Counter(k for row in reading.rows for k in row.sources)
  held = {}
  for row in reading.rows:
    arrays = []
    for name in row.sources:
      if name not in held:
        held[name] = tensors.read_float(store, full[name])
      arrays.append(held[name])
      uses[name] -= 1
      if not uses[name]:
        del held[name]
    made = row.make(*arrays)
    del arrays
    yield row.to, np.ascontiguousarray(made)
