"""Making a cache on disk, or what is missing of one."""

import contextlib
import hashlib
import itertools
import pathlib
import shlex
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from lst.cache import codebooks, fill, folders, layout, shards
from lst.cache import key as keys
from lst.cache.disk import Disk
from lst.cache.errors import CacheError
from lst.cache.rows import Recipe

PACKAGES = ('lst', 'jax', 'tensorstore', 'numpy')


def build(
    root: pathlib.Path,
    key: keys.Key,
    recipe: Recipe,
    *,
    note: dict[str, Any] | None = None,
    shard_bytes: int = layout.SHARD_BYTES,
    checksums: bool = False,
    say: Callable[[str], Any] = print,
    progress: fill.Progress | None = None,
) -> Disk:
  """Opens the cache of a key, after computing whatever is missing of it.

  Stopped in whatever way, the same call goes on with the shards that are not
  there yet; a damaged or missing shard is computed anew, no other. A second
  process that builds the same waits, then opens what the first has made.

  Args:
    root: the folder of all caches.
    key: of this one.
    recipe: makes what is missing of its rows, and nothing else.
    note: JSON-able, for `inspect`: backbone, data, split.
    shard_bytes: about the size of a shard.
    checksums: whether to read everything that is there, or to trust files of
      the right size until their rows are first read.
    say: told what is waited for or computed anew.
    progress: called with (rows done, rows to do).

  Raises:
    CacheError: the rows are not what was announced, or the disk is full.
  """
  folder = keys.folder_of(root, key)
  with folders.locked(folder, say):
    about, codebook = _begin(
        folder, key, recipe, note or {}, shard_bytes, say)
    _complete(folder, about.layout, recipe, codebook, checksums, progress, say)
  return Disk(folder)


def _begin(folder, key, recipe, note, shard_bytes, say):
  """about.json and the codebook: those that are there, or new ones."""
  old, codebook = _found(folder, say)
  if codebook is None:
    codebook = recipe.fit()
  packed = codebooks.pack(codebook)
  digest = hashlib.sha256(packed).hexdigest()
  shapes = fill.stored_shapes(recipe.like, codebook)
  plan = layout.plan(recipe.count, shapes, shard_bytes)
  if old and (plan.rows, plan.taps) != (old.layout.rows, old.layout.taps):
    raise CacheError(
        f'{folder} holds {old.layout.rows} rows of {old.layout.taps} under '
        f'the same key as {plan.rows} rows of {plan.taps}: the key leaves '
        'something out. Name it in `Key.features`.')
  if old and digest == old.codebook:
    # Shards stay as they were cut, whatever `shard_bytes` says now.
    layout.replace(folder / layout.CODEBOOK, packed)
    return old, codebook
  # Rows of another codebook, or of who knows what, are worth nothing.
  folders.clear(folder)
  folder.mkdir(parents=True, exist_ok=True)
  layout.replace(folder / layout.CODEBOOK, packed)
  about = layout.About(
      key.digest, key.as_dict(), key.form['name'], plan, digest, note,
      time.time(), shlex.join(sys.argv), _versions())
  layout.write_about(folder, about)
  return about, codebook


def _found(folder: pathlib.Path, say):
  """about.json and the codebook as far as they are there and whole."""
  if not (folder / layout.ABOUT).exists():
    return None, None
  try:
    about = layout.read_about(folder)
  except CacheError as error:
    say(str(error))
    return None, None
  try:
    return about, folders.read_codebook(folder, about)
  except CacheError as error:
    say(str(error))
    return about, None


def _complete(folder, plan, recipe, codebook, checksums, progress, say):
  """Finds the shards that are missing or damaged and writes them."""
  # Nothing here reads zarr.json, but others do: it is to be right, too.
  for array in plan.arrays:
    shards.open_array(folder, plan, array, write=True)
  found = folders.faults(folder, plan, checksums)
  missing = sorted({fault.shard for fault in found})
  if not missing:
    return
  if len(missing) < plan.shards:
    say(f'{folder}: computing {len(missing)} of {plan.shards} shards')
  for array, shard in itertools.product(plan.arrays, missing):
    # TensorStore would read the last, shorter shard before it writes it.
    shards.path_of(folder, array, shard).unlink(missing_ok=True)
  todo = plan.rows_of(missing)
  writer = shards.Writer(folder, plan, missing)
  for parts in fill.encoded(
      recipe.produce(todo), codebook, len(todo), progress):
    writer.add(parts)
  writer.wait()


def _versions() -> dict[str, str]:
  out = {}
  for name in PACKAGES:
    with contextlib.suppress(metadata.PackageNotFoundError):
      out[name] = metadata.version(name)
  return out
