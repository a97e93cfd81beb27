"""Small models of the three JAX codebases, run from checkouts of them.

None of these is a package to install; each is imported from a folder given on
the command line. Their file access goes through TensorFlow, which is not
needed to run a model and is stood in for by an empty module.
"""

import functools
import importlib
import pathlib
import sys
from unittest import mock

import jax
import numpy as np

from experiments.parity.make_golden import (
    DEPTH,
    HEADS,
    HIDDEN,
    PATCH,
    SIDE,
    WIDTH,
    Reference,
    random_like,
)

CODEBASES = ('vision_transformer', 'scenic', 'big_vision')
_STAND_INS = ('tensorflow', 'tensorflow.io', 'tensorflow.io.gfile', 'pandas')


def cases(folders: dict[str, pathlib.Path | None]) -> dict:
  """The cases of the codebases that folders were given for."""
  found = {}
  for codebase in CODEBASES:
    if folders.get(codebase):
      sys.path.insert(0, str(folders[codebase]))
      found |= _CASES[codebase]
  return found


def _import(name: str):
  """A module of a codebase, with stand-ins while it is being imported."""
  import flax.training.checkpoints  # noqa: F401 it looks for TensorFlow, too
  absent = [name for name in _STAND_INS if name not in sys.modules]
  sys.modules.update({name: mock.MagicMock() for name in absent})
  try:
    return importlib.import_module(name)
  finally:
    for name in absent:
      del sys.modules[name]


def _flat(tree) -> dict[str, np.ndarray]:
  import flax.traverse_util
  flat = flax.traverse_util.flatten_dict(dict(tree), sep='/')
  return {name: np.asarray(x) for name, x in flat.items()}


def _random(init, image) -> dict:
  """Random parameters in the shapes of `init(image)`."""
  import flax.traverse_util
  shapes = jax.eval_shape(init, image)['params']
  flat = flax.traverse_util.flatten_dict(shapes, sep='/')
  return flax.traverse_util.unflatten_dict(
      {name: random_like(name, x.shape) for name, x in flat.items()}, sep='/')


def _norms(apply) -> list[np.ndarray]:
  """Inputs of the encoder's norms in order, and the output of the last."""
  import flax.linen as nn
  kept = []

  def keep(call, args, kwargs, context):
    result = call(*args, **kwargs)
    module = context.module
    if isinstance(module, nn.LayerNorm) and 'Transformer' in module.path:
      kept.append(args[0])
      if module.name == 'encoder_norm':
        kept.append(result)
    return result

  with nn.intercept_methods(keep):
    apply()
  return [np.asarray(x).reshape(-1, WIDTH) for x in kept]


def _zoomed(table: np.ndarray, rows: int, columns: int) -> np.ndarray:
  """(1, n, D) positions as all three codebases resize them, on any grid.

  Their own code holds the grid to be square, and so cannot say what becomes
  of another; this applies the same `scipy.ndimage.zoom` with a factor an axis.
  """
  import scipy.ndimage
  side = int(table.shape[1] ** 0.5)
  grid = table.reshape(side, side, -1)
  grid = scipy.ndimage.zoom(grid, (rows / side, columns / side, 1), order=1)
  return grid.reshape(1, rows * columns, -1)


def _grid(image: np.ndarray) -> tuple[int, int]:
  return image.shape[1] // PATCH, image.shape[2] // PATCH


def _save(params: dict, prefix: str, folder: pathlib.Path) -> None:
  flat = {prefix + name: x for name, x in _flat(params).items()}
  np.savez(folder / 'weights.npz', **flat)


def _encoder_case(model, resize, *, rename=lambda name: name, **kwargs):
  """A model with positions in `Transformer/posembed_input`."""
  image = np.zeros((1, SIDE, SIDE, 3), np.float32)
  params = _random(lambda x: model.init(jax.random.key(0), x, **kwargs), image)

  def states(image):
    tree = {**params, 'Transformer': dict(params['Transformer'])}
    table = params['Transformer']['posembed_input']['pos_embedding']
    rows, columns = _grid(image)
    extra = table.shape[1] % 2  # a CLS token is one more than the 16 patches
    new = _zoomed(table[:, extra:], rows, columns)
    new = np.concatenate([table[:, :extra], new], axis=1)
    if rows == columns:
      # The codebase's own way, where it has one for this grid.
      np.testing.assert_array_equal(new, resize(table, rows * columns, extra))
    tree['Transformer']['posembed_input'] = {'pos_embedding': new}
    return _norms(lambda: model.apply({'params': tree}, image, **kwargs))

  def save(folder):
    flat = {rename(name): x for name, x in _flat(params).items()}
    np.savez(folder / 'weights.npz', **flat)

  return Reference(save, states)


def _older_names(name: str) -> str:
  """Linen's names to those of the published ViT and AugReg files."""
  for new, old in (('LayerNorm_1', 'LayerNorm_2'), ('MlpBlock_0', 'MlpBlock_3'),
                   ('Attention_0', 'Attention_1')):
    name = name.replace(f'{new}/', f'{old}/')
  return name


def vision_transformer(classifier, representation_size=None):
  """google-research/vision_transformer, with the names of its files."""
  import ml_collections
  checkpoint = _import('vit_jax.checkpoint')
  models_vit = _import('vit_jax.models_vit')
  model = models_vit.VisionTransformer(
      num_classes=2, hidden_size=WIDTH, classifier=classifier,
      representation_size=representation_size,
      patches=ml_collections.ConfigDict({'size': (PATCH, PATCH)}),
      transformer={'num_layers': DEPTH, 'mlp_dim': HIDDEN, 'num_heads': HEADS})

  def resize(table, patches, extra):
    return checkpoint.interpolate_posembed(table, patches + extra, bool(extra))

  return _encoder_case(model, resize, rename=_older_names, train=False)


def scenic(classifier):
  """google-research/scenic's `ViT`."""
  import ml_collections
  scenic_vit = _import('scenic.projects.baselines.vit')
  model = scenic_vit.ViT(
      num_classes=2, hidden_size=WIDTH, classifier=classifier, mlp_dim=HIDDEN,
      num_layers=DEPTH, num_heads=HEADS,
      patches=ml_collections.ConfigDict({'size': (PATCH, PATCH)}))

  def resize(table, patches, extra):
    config = ml_collections.ConfigDict({'model': {'classifier': classifier}})
    params = {'Transformer': {'posembed_input': {'pos_embedding': np.zeros(
        (1, patches + extra, WIDTH), np.float32)}}}
    scenic_vit._merge_params(
        params, {'Transformer': {'posembed_input': {'pos_embedding': table}}},
        config, config)
    return params['Transformer']['posembed_input']['pos_embedding']

  return _encoder_case(model, resize, train=False)


def big_vision(pool_type, prefix='', scan=False):
  """google-research/big_vision's `models/vit.py`."""
  vit = _import('big_vision.models.vit')
  fields = {
      'num_classes': 2, 'patch_size': (PATCH, PATCH), 'width': WIDTH,
      'depth': DEPTH, 'mlp_dim': HIDDEN, 'num_heads': HEADS,
      'pool_type': pool_type, 'rep_size': not scan}
  model = vit._Model(**fields)
  image = np.zeros((1, SIDE, SIDE, 3), np.float32)
  params = _random(lambda x: model.init(jax.random.key(0), x), image)

  def states(image):
    table = params['pos_embedding']
    rows, columns = _grid(image)
    new = _zoomed(table, rows, columns)
    if rows == columns:
      np.testing.assert_array_equal(new, vit.resample_posemb(table, new))
    tree = {**params, 'pos_embedding': new}
    kept = _norms(lambda: model.apply({'params': tree}, image))
    if scan:
      # The stacked form is what is saved: it has to be the same model.
      _, out = vit._Model(**fields, scan=True).apply(
          {'params': vit.pyloop_to_scan(tree)}, image)
      encoded = np.asarray(out['encoded']).reshape(-1, WIDTH)
      np.testing.assert_allclose(kept[-1], encoded, atol=1e-5)
    return kept

  saved = vit.pyloop_to_scan(params) if scan else params
  return Reference(functools.partial(_save, saved, prefix), states)


def naflex():
  """google-research/big_vision's NaFlex ViT, in the files of SigLIP 2."""
  naflex_vit = _import('big_vision.models.proj.image_text.naflex_vit')
  model = naflex_vit._Model(
      width=WIDTH, depth=DEPTH, mlp_dim=HIDDEN, num_heads=HEADS,
      pool_type='map', posemb='learn_2d(8)', nposemb=SIDE // PATCH)

  def patches(image):
    rows, columns = _grid(image)
    x = image.reshape(1, rows, PATCH, columns, PATCH, 3)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(1, rows * columns, -1)
    y, x_ = np.mgrid[:rows, :columns].reshape(2, 1, -1)
    return x, np.ones((1, rows * columns), np.int32), y, x_

  image = np.zeros((1, SIDE, SIDE, 3), np.float32)
  params = _random(lambda x: model.init(jax.random.key(0), patches(x)), image)
  return Reference(
      functools.partial(_save, params, 'params/img/'),
      lambda image: _norms(
          lambda: model.apply({'params': params}, patches(image))))


_P = functools.partial
_CASES = {
    'vision_transformer': {
        'vision_transformer_token': _P(
            vision_transformer, 'token', representation_size=8),
        'vision_transformer_gap': _P(vision_transformer, 'gap'),
    },
    'scenic': {'scenic_token': _P(scenic, 'token')},
    'big_vision': {
        'big_vision_token': _P(big_vision, 'tok'),
        'big_vision_gap': _P(big_vision, 'gap', prefix='params/'),
        'big_vision_siglip_scan': _P(
            big_vision, 'map', prefix='params/img/', scan=True),
        'big_vision_naflex': naflex,
    },
}
