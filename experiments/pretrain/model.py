"""The network that is trained, and what is minimised."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from lst.backbones import layers, vit

CLASSES = 200
FIELDS = {
    'patch': 8, 'width': 192, 'depth': 12, 'heads': 3, 'hidden': 768,
    'grid': (8, 8), 'prefix': 0, 'position': 'learned', 'resize': 'bicubic',
    'activation': 'gelu_tanh', 'eps': 1e-6,
}


def build(dtype: jnp.dtype = jnp.bfloat16) -> vit.ViT:
  """ViT-Ti with patches of 8 pixels and no CLS token."""
  return vit.ViT(**FIELDS, dtype=dtype)


def waves(rows: int, columns: int, width: int) -> np.ndarray:
  """Sines and cosines of row and column, (rows * columns, width)."""
  y, x = np.mgrid[:rows, :columns].reshape(2, -1, 1)
  omega = 100.0 ** -np.linspace(0, 1, width // 4)
  parts = [np.sin(y * omega), np.cos(y * omega)]
  parts += [np.sin(x * omega), np.cos(x * omega)]
  return np.concatenate(parts, axis=1).astype(np.float32)


def init(key: Key[Array, '']) -> dict:
  """{'vit', 'head'}; branches and head start at zero, positions as waves."""
  params = build().init(key, jnp.zeros((1, 64, 64, 3)))['params']
  params['positions'] = 0.3 * waves(*FIELDS['grid'], FIELDS['width'])
  for layer in range(FIELDS['depth']):
    block = params[f'block_{layer}']
    for branch in (block['attention']['out'], block['mlp']['down']):
      branch['kernel'] = jnp.zeros_like(branch['kernel'])
  head = {'kernel': np.zeros((FIELDS['width'], CLASSES), np.float32),
          'bias': np.zeros(CLASSES, np.float32)}
  return jax.tree.map(jnp.asarray, {'vit': params, 'head': head})


def pooled(
    params: dict, images: Float[Array, 'b h w c'], dtype=jnp.bfloat16
) -> Float[Array, 'b d']:
  """Mean over the tokens after the final norm, in f32; `params` of the ViT."""
  def cast(a):
    return a.astype(dtype) if a.ndim > 1 else a

  x = build(dtype).apply({'params': jax.tree.map(cast, params)}, images)
  return layers.layer_norm(
      x, **params['norm'], eps=FIELDS['eps']).mean(axis=1)


def logits(
    params: dict, images: Float[Array, 'b h w c']
) -> Float[Array, 'b k']:
  """Class scores in f32."""
  x = pooled(params['vit'], images)
  return x @ params['head']['kernel'] + params['head']['bias']


def loss(
    params: dict,
    images: Float[Array, 'b h w c'],
    labels: Int[Array, ' b'],
    smoothing: float,
) -> tuple[Float[Array, ''], Int[Array, '']]:
  """Mean smoothed cross-entropy, and how many are right."""
  scores = logits(params, images)
  targets = optax.smooth_labels(jax.nn.one_hot(labels, CLASSES), smoothing)
  right = (scores.argmax(-1) == labels).sum()
  return optax.softmax_cross_entropy(scores, targets).mean(), right
