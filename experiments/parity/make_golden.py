"""Writes the golden files of the parity tests from the reference codebases.

Each case is a small model of a reference implementation with random weights,
saved as that codebase saves it, and all of its residual states on a few
inputs. `--only` makes some of the cases again.

    python -m experiments.parity.make_golden --out=tests/golden \\
        --big_vision=DIR --vision_transformer=DIR --scenic=DIR \\
        --kauldron=DIR --representations4d=DIR --vjepa2=DIR
"""

import argparse
import json
import pathlib
import shutil
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# (height, width): as it is, rows shrunk and columns stretched, and larger.
SIZES = {'native': (16, 16), 'non_square': (8, 20), 'resized': (24, 24)}

# (frames, height, width), likewise.
CLIP_SIZES = {'native': (4, 16, 16), 'longer': (6, 16, 16),
              'non_square': (4, 8, 20), 'resized': (2, 24, 24)}

# Of every model: 4 x 4 patches of 4 x 4 pixels, and tubelets of 2 frames.
SIDE, PATCH, WIDTH, DEPTH, HEADS, HIDDEN = 16, 4, 24, 2, 3, 40
FRAMES, TUBELET = 4, 2
# What the names of cases of clips begin with.
VIDEO = 'video_'


class Reference(NamedTuple):
  """A reference model: how to save it, and its states on an image."""

  save: Callable[[pathlib.Path], None]
  # (1, [T,] H, W, 3) -> the 2L + 1 states and the final norm of the last,
  # (N, D), or None for a size that the model does not take
  states: Callable[[np.ndarray], list[np.ndarray] | None]


def inputs(sizes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
  """The inputs by name, each (1, [T,] H, W, 3)."""
  rng = np.random.default_rng(0)
  return {name: rng.normal(size=(1, *size, 3)).astype(np.float32)
          for name, size in sizes.items()}


def random_like(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Weights that leave nothing degenerate: no zero bias, no unit scale."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  x = rng.normal(size=shape)
  last = name.replace('/', '.').split('.')[-1]
  if last in ('scale', 'lambda1', 'gamma') or (
      last == 'weight' and len(shape) == 1):
    x = 1 + 0.3 * x
  elif len(shape) < 2 or any(
      part in name for part in ('pos', 'token', 'cls', 'bias', 'probe')):
    x = 0.4 * x
  else:
    x = 1.5 * x / np.sqrt(np.prod(shape) / max(shape[0], shape[-1]))
  return np.asarray(x, np.float32)


def write(case: str, reference: Reference, out: pathlib.Path) -> None:
  """Writes a folder of the model's files, and its states as `case`.npz."""
  folder = out / case
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir(parents=True)
  reference.save(folder)
  arrays = {}
  sizes = CLIP_SIZES if case.startswith(VIDEO) else SIZES
  for name, image in inputs(sizes).items():
    states = reference.states(image)
    if states is None:
      continue
    if len(states) != 2 * DEPTH + 2:
      raise ValueError(f'{case}: {len(states)} states on {name}')
    arrays[name] = np.stack(states)
  states = out / f'{case}.npz'
  np.savez_compressed(states, **arrays)
  size = sum(path.stat().st_size for path in [states, *folder.iterdir()])
  print(f'{case}: {size / 1000:.0f} kB', flush=True)


def main() -> None:
  """Writes all cases, or those of `--only`."""
  from experiments.parity import clip_models, flax_models, torch_models
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--only', nargs='*')
  for name in (*flax_models.CODEBASES, *clip_models.CODEBASES):
    parser.add_argument(f'--{name}', type=pathlib.Path)
  args = parser.parse_args()
  cases = torch_models.CASES | flax_models.cases(vars(args))
  cases |= clip_models.cases(vars(args))
  args.out.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(args.out / 'images.npz', **inputs(SIZES))
  np.savez_compressed(args.out / 'clips.npz', **inputs(CLIP_SIZES))
  for case in args.only or cases:
    write(case, cases[case](), args.out)
  if not args.only:
    rows = [json.dumps([name, *facts]) for name, facts in
            torch_models.timm_architectures().items()]
    (args.out / 'timm_architectures.jsonl').write_text('\n'.join(rows) + '\n')


if __name__ == '__main__':
  main()
