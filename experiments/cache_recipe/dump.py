"""Taps of a PyTorch model into a cache, and a side network trained from it.

`python -m experiments.cache_recipe.dump --root=FOLDER`, see README.md.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lst import LowRank, SideNetwork, cache, data
from lst.data import digits


def dump(model, blocks, name, split, root, size, batch_size=32) -> cache.Disk:
  """The output of every block of a PyTorch model, kept under `root`.

  Args:
    model: any `torch.nn.Module` that takes images (B, 3, H, W) in [-1, 1].
    blocks: the modules whose outputs (B, N, D) are the taps, first to last.
    name: says what the model is; with its weights it makes the key.
    split: images and labels (`lst.data.Split`).
    root: the folder of the caches.
    size: side of the images in pixels.
    batch_size: images in a pass.
  """
  import torch
  outputs = {}
  for i, block in enumerate(blocks):
    block.register_forward_hook(
        lambda module, args, out, i=i: outputs.update(
            {i: out.float().numpy().copy()}))

  @torch.inference_mode()
  def taps(images):
    model(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
    return tuple(outputs[i] for i in range(len(blocks)))

  def produce(rows):
    load = data.Loader(split, (size, size), 'bilinear')
    for batch in data.eval_rows(rows, load, batch_size=batch_size):
      yield cache.Produced(taps(batch.inputs), batch.label[batch.mask > 0])

  weights = {k: v.numpy() for k, v in model.state_dict().items()}
  key = cache.Key(
      cache.digest_of(weights), {'size': size, 'range': [-1, 1]},
      f'{name}, {len(blocks)} blocks', 'float32', {'name': 'exact'}, {},
      data.fingerprint(split), '')
  like = taps(np.zeros((1, size, size, 3), np.uint8))
  recipe = cache.Recipe(like, split.size, produce, lambda: cache.fit('exact'))
  return cache.build(
      cache.root_of(root), key, recipe, note={'backbone': name})


def train(store: cache.Store, classes: int, steps: int, batch_size=64) -> float:
  """Trains a side network on a cache; its mean accuracy over the last epoch."""
  # The default when the figures of the README were measured.
  side = LowRank(rank=8, residual='running')
  network = SideNetwork(side, classes=classes)
  optimizer = optax.adamw(3e-3)

  def loss(params, features, label):
    logits = network.apply(params, features)
    right = (logits.argmax(-1) == label).mean()
    return optax.softmax_cross_entropy_with_integer_labels(
        logits, label).mean(), right

  @jax.jit
  def step(params, state, codebook, batch):
    features = cache.expand(batch.inputs, codebook)
    grads, right = jax.grad(loss, has_aux=True)(params, features, batch.label)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, right

  first = cache.expand(store.read(np.arange(1)), store.codebook)
  params = network.init(jax.random.key(0), first)
  state, accuracy = optimizer.init(params), []
  batches = data.train_rows(store.rows, store.batch, batch_size=batch_size)
  for batch, _ in zip(batches, range(steps), strict=False):
    params, state, right = step(params, state, store.codebook, batch)
    accuracy.append(right)
  return float(jnp.mean(jnp.stack(accuracy[-(store.rows // batch_size):])))


def main() -> None:
  """A timm ViT with random weights on 1,000 digits."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--root', default='')
  parser.add_argument('--steps', type=int, default=100)
  args = parser.parse_args()
  import timm
  import torch
  torch.manual_seed(0)
  model = timm.create_model(
      'vit_tiny_patch16_224', img_size=64, patch_size=8, depth=6).eval()
  split = data.Split('train', digits.source().splits['train'])
  store = dump(
      model, model.blocks, 'a random vit_tiny', split, args.root, size=64)
  print(f'{store.folder}: {store.rows:,} rows')
  print(f'training accuracy {train(store, 10, args.steps):.1%}')


if __name__ == '__main__':
  main()
