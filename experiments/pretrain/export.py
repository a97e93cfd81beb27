"""Writes the ViT of a checkpoint as one bfloat16 safetensors file.

    python -m experiments.pretrain.export --workdir=W --out=FILE.safetensors
"""

import argparse
import pathlib

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy

from experiments.pretrain import model
from lst.backbones.families import own

NAME = 'ti8_tiny_imagenet'


def newest_params(workdir: pathlib.Path) -> dict:
  """{'vit', 'head'} of the newest checkpoint."""
  with ocp.CheckpointManager(workdir.resolve()) as manager:
    step = manager.latest_step()
    if step is None:
      raise SystemExit(f'{workdir} holds no checkpoint: run pretrain.py first')
    state = manager.restore(step, args=ocp.args.StandardRestore())
  return jax.tree.map(np.asarray, state['params'])


def write(vit: dict, out: pathlib.Path):
  """Saves the tree flat, names joined by '/', and checks that it reads back."""
  flat = flax.traverse_util.flatten_dict(vit, sep='/')
  flat = {k: np.asarray(a, jnp.bfloat16) for k, a in flat.items()}
  out.parent.mkdir(parents=True, exist_ok=True)
  half = (0.5, 0.5, 0.5)
  safetensors.numpy.save_file(flat, out, own.metadata_of(
      model.build(), NAME, (64, 64), half, half, cls=False))
  back = safetensors.numpy.load_file(out)
  for name, array in flat.items():
    same = back[name].view(np.uint16) == array.view(np.uint16)
    if back[name].shape != array.shape or not same.all():
      raise SystemExit(f'{name} does not read back as it was written')
  print(f'{out}: {len(flat)} tensors, {out.stat().st_size:,} bytes')


def main():
  """Reads the flags, writes the file."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path(
      f'lst/backbones/embedded/{NAME}.safetensors'))
  flags = parser.parse_args()
  write(newest_params(flags.workdir)['vit'], flags.out)


if __name__ == '__main__':
  main()
