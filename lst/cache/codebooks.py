"""Codebooks as safetensors files: never unpickled, readable elsewhere."""

import pathlib

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from lst.cache import forms
from lst.features import Norm


def pack(codebook: forms.Codebook) -> bytes:
  """A codebook as a safetensors file: `norm/...` and `tap_00`, ..."""
  arrays = {}
  if codebook.norm is not None:
    arrays |= {f'norm/{k}': v for k, v in codebook.norm._asdict().items()}
  parts = () if isinstance(codebook, forms.Exact) else codebook[0]
  arrays |= {
      f'tap_{i:02d}': x for i, x in enumerate(parts) if x is not None}
  # In the types that come back: a Python float as f32.
  arrays = {
      name: np.array(jnp.asarray(x), order='C') for name, x in arrays.items()}
  return safetensors.numpy.save(arrays)


def unpack(form: str, path: pathlib.Path, taps: int) -> forms.Codebook:
  """The codebook of such a file, for this number of taps."""
  # Not `load` of bytes: it does not know bfloat16.
  arrays = {
      k: jnp.asarray(x) for k, x in safetensors.numpy.load_file(path).items()}
  norm = None
  if 'norm/scale' in arrays:
    norm = Norm(*(arrays[f'norm/{field}'] for field in Norm._fields))
  if forms.FORMS[form] is forms.Exact:
    return forms.Exact(norm)
  parts = tuple(arrays.get(f'tap_{i:02d}') for i in range(taps))
  return forms.FORMS[form](parts, norm)
