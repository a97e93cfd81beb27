"""Pre-trains the embedded ViT on Tiny-ImageNet; resumes where it stopped.

The learning rate warms up, stays, and falls to zero over the last `--cooldown`
steps, so that one constant phase serves cool-downs of any length:

    python -m experiments.pretrain.pretrain --data=D --workdir=W --steps=4000
    python -m experiments.pretrain.pretrain --data=D --workdir=W-cool \\
      --branch=W --steps=5000 --cooldown=1000 --size=64

`--init` starts the constant phase from an exported ViT, `--steps` anew.
"""

import argparse
import csv
import pathlib
import time

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import safetensors.numpy

from experiments.pretrain import augment, model, optimizer

COLUMNS = ('step', 'epoch', 'images', 'size', 'rate', 'loss',
           'train_accuracy', 'val_accuracy', 'seconds')


def parse() -> argparse.Namespace:
  """The flags."""
  parser = argparse.ArgumentParser(description=__doc__)
  add = parser.add_argument
  add('--data', type=pathlib.Path, required=True, help='of prepare.py')
  add('--workdir', type=pathlib.Path, required=True)
  add('--branch', type=pathlib.Path,
      help='workdir whose newest checkpoint a fresh workdir starts from')
  add('--init', type=pathlib.Path,
      help='file of export.py; a fresh workdir starts from its ViT')
  add('--steps', type=int, default=8000, help='the last step, all phases')
  add('--warmup', type=int, default=200)
  add('--cooldown', type=int, default=0, help='steps of the fall to zero')
  add('--size', type=int, default=48, help='side of the training views')
  add('--batch', type=int, default=256)
  add('--micro', type=int, default=64, help='images of one backward pass')
  add('--muon', type=float, default=0.02, help='learning rate of matrices')
  add('--adam', type=float, default=3e-3, help='learning rate of the rest')
  add('--decay', type=float, default=0.05)
  add('--smoothing', type=float, default=0.1)
  add('--seed', type=int, default=0)
  add('--log_every', type=int, default=50)
  add('--eval_every', type=int, default=400)
  add('--save_every', type=int, default=200)
  return parser.parse_args()


def make_rate(flags: argparse.Namespace):
  """`rate(step)` in 0..1: warm-up, constant, linear cool-down."""
  def rate(step):
    up = (step + 1) / max(flags.warmup, 1)
    down = (flags.steps - step) / max(flags.cooldown, 1)
    return jnp.minimum(jnp.minimum(up, down), 1.0)

  return rate


def make_step(flags: argparse.Namespace, tx: optax.GradientTransformation):
  """A jitted step: (state, key, images, labels) -> (state, loss, right)."""
  def step(state, key, images, labels):
    params = state['params']
    key = jax.random.fold_in(key, state['step'])
    n = flags.batch // flags.micro
    parts = jax.tree.map(
        lambda a: a.reshape(n, flags.micro, *a.shape[1:]), (images, labels))

    def micro(carry, part):
      images, labels, key = part
      views = augment.augment(key, images, flags.size)
      (loss, right), grads = jax.value_and_grad(model.loss, has_aux=True)(
          params, views, labels, flags.smoothing)
      return jax.tree.map(jnp.add, carry, (grads, loss, right)), None

    zero = (jax.tree.map(jnp.zeros_like, params), 0.0, 0)
    (grads, loss, right), _ = jax.lax.scan(
        micro, zero, (*parts, jax.random.split(key, n)))
    grads = jax.tree.map(lambda g: g / n, grads)
    updates, opt = tx.update(grads, state['opt'], params)
    params = optax.apply_updates(params, updates)
    state = {'params': params, 'opt': opt, 'step': state['step'] + 1}
    return state, loss / n, right

  return jax.jit(step, donate_argnums=0)


@jax.jit
def count_right(params, images, labels):
  """How many of a batch are right, whole images, no augmentation."""
  scores = model.logits(params, augment.normalise(images))
  return (scores.argmax(-1) == labels).sum()


def accuracy(params: dict, images: np.ndarray, labels: np.ndarray) -> float:
  """Share of the validation images that are right."""
  size = 250
  right = [
      count_right(params, images[i:i + size], labels[i:i + size])
      for i in range(0, len(images), size)]
  return float(sum(right)) / len(images)


def load(folder: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
  """(images mapped from disk, labels)."""
  images = np.load(folder / f'{split}_images.npy', mmap_mode='r')
  return images, np.load(folder / f'{split}_labels.npy')


def batch_of(flags, step: int, images, labels):
  """The batch of a step, set by (seed, epoch) alone; the tail is dropped."""
  per_epoch = len(labels) // flags.batch
  epoch, i = divmod(step, per_epoch)
  order = np.random.default_rng((flags.seed, epoch)).permutation(len(labels))
  rows = np.sort(order[i * flags.batch:(i + 1) * flags.batch])
  return images[rows], labels[rows]


def restore(flags, manager: ocp.CheckpointManager, state: dict) -> dict:
  """The newest state of the workdir, else of `--branch`, else as it is."""
  like = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
  if manager.latest_step() is not None:
    return manager.restore(
        manager.latest_step(), args=ocp.args.StandardRestore(like))
  if flags.branch is None:
    return state
  with ocp.CheckpointManager(flags.branch.resolve()) as other:
    return other.restore(
        other.latest_step(), args=ocp.args.StandardRestore(like))


def exported(path: pathlib.Path, like: dict) -> dict:
  """The ViT of a file of export.py, in f32; the head starts anew."""
  flat = safetensors.numpy.load_file(path)
  vit = flax.traverse_util.unflatten_dict(flat, sep='/')
  return jax.tree.map(lambda a, b: jnp.asarray(b, a.dtype), like, vit)


def write_row(path: pathlib.Path, row: tuple):
  """Adds one line to the curve."""
  fresh = not path.exists()
  with path.open('a', newline='') as file:
    writer = csv.writer(file)
    if fresh:
      writer.writerow(COLUMNS)
    writer.writerow(row)
  print(*row, flush=True)


def train(flags: argparse.Namespace):
  """The loop: a step, sometimes a row of the curve, a checkpoint."""
  tx = optimizer.build(
      flags.muon, flags.adam, flags.decay, make_rate(flags))
  step_fn, rate = make_step(flags, tx), make_rate(flags)
  params = model.init(jax.random.key(flags.seed))
  if flags.init is not None:
    params['vit'] = exported(flags.init, params['vit'])
  state = {'params': params, 'opt': tx.init(params), 'step': jnp.int32(0)}
  images, labels = load(flags.data, 'train')
  val = load(flags.data, 'val')
  key = jax.random.key(flags.seed + 1)
  manager = ocp.CheckpointManager(
      flags.workdir.resolve(), options=ocp.CheckpointManagerOptions(
          max_to_keep=2, save_interval_steps=flags.save_every))
  state = restore(flags, manager, state)
  first, losses, rights, began = int(state['step']), [], [], time.time()
  for step in range(first + 1, flags.steps + 1):
    state, loss, right = step_fn(
        state, key, *batch_of(flags, step - 1, images, labels))
    losses.append(loss)
    rights.append(right)
    last = step == flags.steps
    if step % flags.log_every == 0 or last:
      wanted = step % flags.eval_every == 0 or last
      score = accuracy(state['params'], *val) if wanted else ''
      seen = flags.batch * step
      write_row(flags.workdir / 'curve.csv', (
          step, round(seen / len(labels), 3), seen, flags.size,
          round(float(rate(step)), 4), round(float(np.mean(losses)), 4),
          round(float(np.mean(rights)) / flags.batch, 4), score,
          round(time.time() - began, 1)))
      losses, rights = [], []
    manager.save(step, args=ocp.args.StandardSave(state), force=last)
  manager.close()


if __name__ == '__main__':
  train(parse())
