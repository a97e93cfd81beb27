"""Named tensors in files, read one by one and never unpickled."""

import json
import pathlib
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import ml_dtypes
import numpy as np
import safetensors

Shape = tuple[int, ...]

PICKLES = ('.bin', '.pt', '.pth', '.pkl', '.pickle', '.ckpt')
WEIGHTS = ('model.safetensors', 'model.safetensors.index.json')
FLOATS = ('float16', 'bfloat16', 'float32', 'float64')


class Store(NamedTuple):
  """The tensors of a checkpoint, none of them read yet."""

  shapes: dict[str, Shape]
  read: Callable[[str], np.ndarray]
  metadata: dict[str, str]


def open_store(path: pathlib.Path) -> Store:
  """Opens an `.npz`, a `.safetensors`, or the index of a sharded one.

  Raises ValueError for a file of another kind, a pickle among them, and for a
  file that is damaged.
  """
  if path.suffix in PICKLES:
    raise ValueError(refusal(path))
  if path.suffix not in _OPENERS:
    raise ValueError(
        f'{path}: no kind of weights known here; give a '
        f'{", ".join(_OPENERS)} file or a folder that holds one')
  return _OPENERS[path.suffix](path)


def find_weights(folder: pathlib.Path) -> pathlib.Path:
  """The one file of weights in a folder, or a ValueError."""
  for name in WEIGHTS:
    if (folder / name).is_file():
      return folder / name
  files = sorted(path for path in folder.iterdir() if path.is_file())
  found = [path for path in files if path.suffix in ('.safetensors', '.npz')]
  if len(found) == 1:
    return found[0]
  if found:
    raise ValueError(
        f'{folder} holds {len(found)} files of weights '
        f'({", ".join(path.name for path in found[:5])}): name the one to load')
  pickles = [path for path in files if path.suffix in PICKLES]
  if pickles:
    raise ValueError(refusal(pickles[0]))
  raise ValueError(
      f'{folder} holds no weights: put {" or ".join(WEIGHTS)} or an .npz in')


def refusal(path: pathlib.Path | str) -> str:
  """Why a pickle is not read, and how to bring it to safetensors."""
  return (
      f'{path} is a pickle, which can run any code when it is read, so it is '
      'never opened here. Look for a .safetensors file of the same model, or '
      'convert it where you trust it:\n'
      '  import torch; from safetensors.torch import save_file\n'
      f'  state = torch.load({str(path)!r}, weights_only=True)\n'
      '  save_file({k: v.contiguous() for k, v in state.items()}, '
      "'model.safetensors')")


def _damaged(path, error):
  size = path.stat().st_size
  return ValueError(
      f'{path} ({size:,} bytes) is damaged or incomplete: {error}. Fetch it '
      'again and compare its size with the original')


def _open_safetensors(path: pathlib.Path) -> Store:
  try:
    file = safetensors.safe_open(path, 'np')
  except safetensors.SafetensorError as error:
    raise _damaged(path, error) from error
  shapes = {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()}  # noqa: SIM118
  return Store(shapes, file.get_tensor, file.metadata() or {})


def _where(path: pathlib.Path) -> dict[str, str]:
  """The shard of each tensor, by an index."""
  try:
    return json.loads(path.read_text())['weight_map']
  except (json.JSONDecodeError, KeyError) as error:
    raise _damaged(path, f'no weight_map in it ({error!r})') from error


def shards(path: pathlib.Path) -> list[pathlib.Path]:
  """The files that an index of weights names; [] of a file of another kind.

  Raises ValueError if one of them is not there.
  """
  if path.suffix != '.json':
    return []
  names = sorted(set(_where(path).values()))
  lacking = [name for name in names if not (path.parent / name).exists()]
  if lacking:
    raise ValueError(
        f'{path} names shards that are not beside it: {", ".join(lacking)}')
  return [path.parent / name for name in names]


def _open_sharded(path: pathlib.Path) -> Store:
  where = _where(path)
  stores = [_open_safetensors(shard) for shard in shards(path)]
  shapes = {k: s for store in stores for k, s in store.shapes.items()}
  missing = sorted(set(where) - set(shapes))
  if missing:
    raise ValueError(f'{path} names tensors its shards lack: {missing[:10]}')
  home = {k: store for store in stores for k in store.shapes}
  return Store(shapes, lambda name: home[name].read(name), {})


def _npz_shape(file: zipfile.ZipFile, member: str) -> Shape:
  with file.open(member) as f:
    version = np.lib.format.read_magic(f)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version](f)
  shape, _, dtype = header
  if dtype.hasobject:
    raise ValueError(f'{member} holds Python objects, which need unpickling')
  return shape


def _open_npz(path: pathlib.Path) -> Store:
  try:
    with zipfile.ZipFile(path) as file:
      shapes = {m.removesuffix('.npy'): _npz_shape(file, m)
                for m in file.namelist()}
  except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
    raise _damaged(path, error) from error

  def read(name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
      array = file[name]
    # numpy knows no bfloat16 and stores it as two bytes of anything.
    return array.view(ml_dtypes.bfloat16) if array.dtype == 'V2' else array

  return Store(shapes, read, {})


def read_float(store: Store, name: str) -> np.ndarray:
  """A tensor as it is stored (f64 as f32); ValueError if it holds no floats."""
  try:
    array = store.read(name)
  except (zipfile.BadZipFile, EOFError, safetensors.SafetensorError) as error:
    raise ValueError(
        f'{name} cannot be read, the file is damaged: {error}') from error
  if array.dtype.name not in FLOATS:
    raise ValueError(
        f'{name} holds {array.dtype.name}, not one of {", ".join(FLOATS)}: '
        'quantised weights are not loaded here')
  return array.astype(np.float32) if array.dtype == np.float64 else array


_OPENERS = {
    '.safetensors': _open_safetensors,
    '.json': _open_sharded,
    '.npz': _open_npz,
}
