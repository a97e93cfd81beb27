"""What lies in the folder of a cache, and about.json, which says so.

    <root>/<first 20 digits of the key>/
      about.json             key, layout, form, versions, command; never half
                             written, and it ends with its own checksum
      codebook.safetensors   what `lst.cache.expand` needs besides the rows
      label/                 int32 (rows,)
      tap_00/ tap_01/ ...    (rows, *shape), one array for each tap
        zarr.json            the format: Zarr 3, codec sharding_indexed,
        c/<shard>/0/0        crc32c on every row, no compression

Any reader of Zarr 3 opens `tap_00` as an array. Row = example * views + view.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lst.cache import key as keys
from lst.cache.errors import CacheError

FORMAT = 'lst-features-1'
ABOUT, CODEBOOK, LABEL = 'about.json', 'codebook.safetensors', 'label'
# A shard is what a kill can cost, what a repair computes anew, and what the
# writer holds in memory, twice.
SHARD_BYTES = 2**27
# Bytes of the checksum of a chunk, and of the place of a chunk in its shard.
CRC, PLACE = 4, 16


class Array(NamedTuple):
  """One array of a cache: a tap, or the labels.

  Attributes:
    name: its folder.
    shape: of one row.
    dtype: a name that `jax.numpy.dtype` knows.
  """

  name: str
  shape: tuple[int, ...]
  dtype: str

  @property
  def row_bytes(self) -> int:
    """Bytes of one row, without its checksum."""
    return int(np.prod(self.shape)) * jnp.dtype(self.dtype).itemsize


class Layout(NamedTuple):
  """The rows of a cache and how they are cut into shards.

  Attributes:
    rows: examples times views.
    shard_rows: rows in a shard; the last may hold fewer.
    taps: the arrays of the taps; the labels come on top.
  """

  rows: int
  shard_rows: int
  taps: tuple[Array, ...]

  @property
  def arrays(self) -> tuple[Array, ...]:
    """All arrays, the labels first."""
    return (Array(LABEL, (), 'int32'), *self.taps)

  @property
  def row_bytes(self) -> int:
    """Bytes of one row over all taps."""
    return sum(tap.row_bytes for tap in self.taps)

  @property
  def shards(self) -> int:
    """The number of shards."""
    return -(-self.rows // self.shard_rows)

  def span(self, shard: int) -> tuple[int, int]:
    """The first row of a shard, and the first after it."""
    start = shard * self.shard_rows
    return start, min(start + self.shard_rows, self.rows)

  def rows_of(self, shards: Sequence[int]) -> np.ndarray:
    """All rows of some shards, in order: int64 (n,)."""
    spans = [np.arange(*self.span(shard)) for shard in shards]
    return np.concatenate([np.zeros(0, np.int64), *spans])

  def chunk_rows(self, array: Array) -> int:
    """Rows under one checksum: one of a tap, all labels of a shard."""
    return self.shard_rows if array.name == LABEL else 1

  def file_bytes(self, array: Array, shard: int) -> int:
    """The exact size of the file of a shard: nothing is compressed."""
    start, stop = self.span(shard)
    size = self.chunk_rows(array)
    chunks = -(-(stop - start) // size)
    return (chunks * (size * array.row_bytes + CRC)
            + self.shard_rows // size * PLACE + CRC)


def plan(
    rows: int, taps: Sequence[Any], shard_bytes: int = SHARD_BYTES
) -> Layout:
  """The layout for taps of these shapes.

  Args:
    rows: examples times views.
    taps: anything with `shape` (B, ...) and `dtype`, as the form stores them.
    shard_bytes: about the size of a shard over all taps; one row at least.

  Raises:
    CacheError: there is nothing to keep.
  """
  arrays = tuple(
      Array(f'tap_{i:02d}', tuple(tap.shape[1:]), jnp.dtype(tap.dtype).name)
      for i, tap in enumerate(taps))
  layout = Layout(rows, 1, arrays)
  if rows < 1 or not layout.row_bytes:
    raise CacheError(
        f'{rows} rows of {layout.row_bytes} bytes: there is nothing to keep. '
        'Give at least one example and one tap.')
  fitting = max(1, shard_bytes // layout.row_bytes)
  return layout._replace(shard_rows=min(rows, fitting))


class About(NamedTuple):
  """The content of about.json.

  Attributes:
    digest: of the key, 64 hexadecimal digits.
    key: the key, readable.
    form: name of the form, a key of `lst.cache.forms.FORMS`.
    layout: rows, shards and arrays.
    codebook: the sha256 of codebook.safetensors.
    note: what people want to know: backbone, data, split, classes ...
    created: when it was begun, in seconds since 1970.
    command: that made it, and makes it whole again.
    versions: of the packages that computed it.
  """

  digest: str
  key: dict[str, Any]
  form: str
  layout: Layout
  codebook: str
  note: dict[str, Any]
  created: float
  command: str
  versions: dict[str, str]


def write_about(folder: pathlib.Path, about: About) -> None:
  """Writes about.json in one move."""
  content = about._asdict()
  content['layout'] = about.layout._asdict()
  content['layout']['taps'] = [tap._asdict() for tap in about.layout.taps]
  content = {'format': FORMAT, **content}
  content['checksum'] = keys.sha256(content)
  replace(folder / ABOUT, (json.dumps(content, indent=2) + '\n').encode())


def read_about(folder: pathlib.Path) -> About:
  """Reads about.json.

  Raises:
    CacheError: there is none, it is not of a cache, or it is damaged.
  """
  path = folder / ABOUT
  try:
    content = json.loads(path.read_bytes())
  except OSError as error:
    raise CacheError(f'{folder} is no cache of features: {error}') from error
  except ValueError as error:
    raise CacheError(_damaged(path, str(error))) from error
  if not isinstance(content, dict) or content.pop('format', '') != FORMAT:
    raise CacheError(f'{path} is not of the format {FORMAT}')
  checksum = content.pop('checksum', '')
  if checksum != keys.sha256({'format': FORMAT, **content}):
    raise CacheError(_damaged(path, 'its checksum is wrong'))
  layout = content['layout']
  taps = tuple(
      Array(t['name'], tuple(t['shape']), t['dtype']) for t in layout['taps'])
  return About(**{**content, 'layout': Layout(**{**layout, 'taps': taps})})


def _damaged(path: pathlib.Path, why: str) -> str:
  return (f'{path} is damaged ({why}): `python -m lst.cache build`, or the '
          'training command, makes the cache anew')


def replace(path: pathlib.Path, content: bytes) -> None:
  """Writes a file in one move, so that it is never half there."""
  temporary = path.with_name(path.name + '.part')
  temporary.write_bytes(content)
  temporary.replace(path)
