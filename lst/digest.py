"""The sha256 of a tree of arrays, which tells weights apart."""

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


def of_tree(tree: Any) -> str:
  """The sha256 of a tree of arrays: their places, types, shapes and bytes.

  >>> a = of_tree({'w': np.zeros(2), 'b': np.ones(2)})
  >>> a == of_tree({'b': np.ones(2), 'w': np.zeros(2)})
  True
  >>> a == of_tree({'w': np.ones(2), 'b': np.zeros(2)})
  False
  """
  return of_parts([tree])


def of_parts(trees: Iterable[Any]) -> str:
  """As `of_tree` of them all in one, where their keys come in its order.

  >>> of_parts([{'a': np.ones(2)}, {'b': np.ones(3)}]) == of_tree(
  ...     {'b': np.ones(3), 'a': np.ones(2)})
  True
  """
  hashed = hashlib.sha256()
  for tree in trees:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
      x = np.asarray(leaf)
      name = f'{jax.tree_util.keystr(path)}:{x.dtype.name}:{x.shape};'
      hashed.update(name.encode())
      hashed.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
  return hashed.hexdigest()
