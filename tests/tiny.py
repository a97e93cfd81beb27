"""A tiny frozen ViT with random weights, its config and its batches."""

import pathlib

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from lst import config as config_lib
from lst.backbones.families import own
from lst.backbones.vit import ViT
from lst.data import Batch
from lst.method import METHODS
from lst.side import SIDES

VIT = ViT(
    patch=4, width=24, depth=3, heads=3, hidden=40, grid=(4, 4), prefix=2)
# Of clips: a token spans two frames.
CLIP_VIT = VIT.clone(
    prefix=0, tubelet=2, grid=(2, 4, 4), position='sincos', depth=2)
SIZE, CLASSES, EXAMPLES = 16, 10, 8
TOKENS = 16 + VIT.prefix

# Made for videos: tests/clip_contracts_test.py has them.
OF_CLIPS = ('st_adapter',)

# (method, side network) of everything that can be trained; a new entry of
# either table is here by itself.
SIDE_CASES = [('side', name) for name in SIDES]
CASES = SIDE_CASES + [
    (name, 'losa') for name in METHODS if name not in ('side', *OF_CLIPS)]


def case_id(case: tuple[str, str]) -> str:
  """'side-losa' of ('side', 'losa'); other methods by their name."""
  return '-'.join(case) if case[0] == 'side' else case[0]


def random_like(tree, seed=0, scale=0.4):
  """Normal values in the shapes of `tree`."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda x: jnp.asarray(scale * rng.normal(size=x.shape), x.dtype), tree)


def copied(tree):
  """The same arrays in memory of their own, for a step to use up."""
  return jax.tree.map(
      lambda x: jax.device_put(np.array(x), x.sharding), tree)


def normal(*shape: int, seed=0) -> jax.Array:
  """Normal values in f32; nothing is compiled for their shape."""
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


def scrambled(module, features) -> dict:
  """Parameters of a module at random: zeros would hide mistakes."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), features)
  return random_like(shapes['params'], seed=1)


def write(folder: pathlib.Path, vit: ViT = VIT) -> pathlib.Path:
  """Writes `vit` with random weights; nothing is left at zero or one."""
  image = jax.ShapeDtypeStruct((1, *vit.tile, 3), jnp.float32)
  shapes = jax.eval_shape(vit.init, jax.random.key(0), image)['params']
  params = flax.traverse_util.flatten_dict(
      random_like(shapes, scale=0.2), sep='/')
  params = {k: np.asarray(v) + (k.endswith('scale')) for k, v in params.items()}
  path = folder / 'tiny.safetensors'
  half = (0.5, 0.5, 0.5)
  safetensors.numpy.save_file(
      params, path,
      own.metadata_of(
          vit, 'tiny', (SIZE, SIZE), half, half, vit.prefix > 0))
  return path


def config(weights: str, case: tuple[str, str] = CASES[0], **side):
  """A config of that backbone on the digits, in steps of eight images."""
  out = config_lib.default()
  out.method, out.side.name = case
  # What ST-Adapter has ahead of the last MLP never comes to the CLS token.
  pool = 'patches' if case[0] == 'st_adapter' else 'auto'
  out.side.update(dict(rank=4, pool=pool) | side)
  out.backbone.weights, out.backbone.dtype = weights, 'float32'
  out.train.batch_size = out.train.eval_batch_size = EXAMPLES
  out.train.epochs = 1.0
  out.optimizer.warmup_epochs = 0.0
  out.optimizer.lr = 1e-2
  return out


def batch(seed=0, examples=EXAMPLES) -> Batch:
  """Random images and labels, none of them padding."""
  rng = np.random.default_rng(seed)
  return Batch(
      rng.integers(0, 256, (examples, SIZE, SIZE, 3), np.uint8),
      rng.integers(0, CLASSES, examples, np.int32),
      np.ones(examples, np.float32))
