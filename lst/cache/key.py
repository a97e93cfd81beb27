"""The key of a cache: everything that its features depend on, and no more."""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from lst.cache.errors import CacheError
from lst.digest import of_tree as digest_of

# Raised whenever the same ingredients would give other bytes.
VERSION = 2
PREFIX = 20

__all__ = [
    'PREFIX', 'VERSION', 'Key', 'canonical', 'digest_of', 'folder_of',
    'root_of', 'sha256']


class Key(NamedTuple):
  """What decides the content of a cache; each value can be written as JSON.

  Attributes:
    backbone: `digest_of` its weights.
    preprocessing: how images become its inputs: image size, resizing, mean
      and std.
    features: which taps, and what a side network prepares of them.
    dtype: of the features, 'bfloat16' or 'float32'.
    form: how they are kept: the name of the form and its options.
    views: the augmentation, the number of views and its seed.
    examples: a fingerprint of the examples and their labels.
    fitted_on: of the examples that a codebook was found on; '' where the form
      has none.
  """

  backbone: str
  preprocessing: Mapping[str, Any]
  features: str
  dtype: str
  form: Mapping[str, Any]
  views: Mapping[str, Any]
  examples: str
  fitted_on: str

  def as_dict(self) -> dict[str, Any]:
    """The readable form, as it is hashed and as about.json holds it."""
    return json.loads(canonical({'version': VERSION, **self._asdict()}))

  @property
  def digest(self) -> str:
    """The sha256 of the canonical JSON, in 64 hexadecimal digits."""
    return sha256(self.as_dict())


def canonical(content: Any) -> str:
  """JSON that is the same text whenever the content is the same.

  >>> canonical({'b': (1, 2.5), 'a': 'x'})
  '{"a":"x","b":[1,2.5]}'
  """
  return json.dumps(
      content, sort_keys=True, separators=(',', ':'), allow_nan=False)


def sha256(content: Any) -> str:
  """The sha256 of what can be written as JSON."""
  return hashlib.sha256(canonical(content).encode()).hexdigest()


def root_of(path: str = '') -> pathlib.Path:
  """The folder of all caches: `path`, $LST_CACHE or ~/.cache/lst/features.

  Raises:
    CacheError: it is a bucket.
  """
  path = path or os.environ.get('LST_CACHE') or '~/.cache/lst/features'
  if '://' in path:
    raise CacheError(
        f'the caches cannot be at {path}: they are mapped into memory. Mount '
        'the bucket (gcsfuse; see launch/README.md) and give that folder')
  return pathlib.Path(path).expanduser().absolute()


def folder_of(root: pathlib.Path, key: Key) -> pathlib.Path:
  """The folder of one cache."""
  return root / key.digest[:PREFIX]
