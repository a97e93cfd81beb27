"""`python -m experiments.plan.run`: which method fits a chip, in a table.

Compiles training steps for devices that are not there. A method whose blocks
or side blocks the compiler sees one by one takes it long at 56 of them; such a
row is made of compilations of 2 and 4 blocks, in which every size and FLOPs are
taken as linear in the number of blocks, and its note says so.
"""

import argparse
import copy
import csv
import os

from experiments.plan import eva_18b, vit_e_video
from lst.backbones import presets
from lst.plan import chips, programs, table

CONFIGS = {'vit_e_video': vit_e_video, 'eva_18b': eva_18b}
SIZE, DEPTHS = 'e', (2, 4)
# Those that are compiled at full depth: the backbone is scanned, and the side
# network has no blocks.
WHOLE = ('losa', 'losa + int8 taps', 'losa + no taps', 'linear', 'attentive')
FIELDS = (
    'topology', 'backbone', 'quantise', 'frames', 'batch', *table.FIELDS)
# What tells rows apart.
KEY = (*FIELDS[:5], 'method')


def main() -> None:
  """Adds every row that is not there yet."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', default='experiments/plan/results.csv')
  parser.add_argument('--topology', default='v5e:1x1')
  parser.add_argument('--config', choices=CONFIGS, default='vit_e_video')
  parser.add_argument('--frames', default='8,16,32', help='0 for images')
  parser.add_argument('--methods', default=','.join(('losa', *table.RIVALS)))
  parser.add_argument('--quantise', default='', help="default: the config's")
  args = parser.parse_args()
  chip, found = chips.devices(args.topology)
  for frames in map(int, args.frames.split(',')):
    for name in args.methods.split(','):
      row, config = _asked(args, name, frames)
      if tuple(row.values()) in {
          tuple(r[k] for k in KEY) for r in _read(args.out)}:
        continue
      row |= {k: str(v) for k, v in table.of_plan(
          name, compiled(name, config, found), config, chip,
          len(found)).items()}
      print(row, flush=True)
      _write(args.out, sorted(
          [*_read(args.out), row], key=lambda r: (
              r['topology'], int(r['frames']), r['quantise'], r['method'])))


def _asked(args, name: str, frames: int):
  """(`KEY` of a row, its config)."""
  config = CONFIGS[args.config].get_config()
  config.data.video.frames = frames or config.data.video.frames
  config.backbone.quantise = args.quantise or config.backbone.quantise
  config = table.changed(
      config, {'method': 'side', **table.RIVALS.get(name, {})})
  values = (
      args.topology, config.backbone.weights, config.backbone.quantise, frames,
      config.train.batch_size, name)
  return dict(zip(KEY, map(str, values), strict=True)), config


def compiled(name: str, config, found: list) -> programs.Plan:
  """The plan of a method by its name in the table."""
  if name in WHOLE:
    return programs.plan(config, 400, found)
  return _between(*(
      programs.plan(_of_depth(config, d), 400, found) for d in DEPTHS))


def _of_depth(config, depth: int):
  """The config on a backbone that is ViT-e but for its depth."""
  name, config = f'{SIZE}_{depth}', copy.deepcopy(config)
  width, _, hidden, heads = presets.SIZES[SIZE]
  presets.SIZES[name] = width, depth, hidden, heads
  presets.EXTRAS[name] = presets.EXTRAS[SIZE]
  config.backbone.weights = f'random:{name}/14'
  return config


def _between(few: programs.Plan, more: programs.Plan) -> programs.Plan:
  """What two depths say of the full one."""
  depth = presets.SIZES[SIZE][1]
  steps = (depth - DEPTHS[1]) / (DEPTHS[1] - DEPTHS[0])

  def of(a, b):
    return b + steps * (b - a)

  sizes = programs.Sizes(*(
      round(of(a, b)) for a, b in zip(few.sizes, more.sizes, strict=True)))
  return programs.Plan(
      sizes, f'from {DEPTHS[0]} and {DEPTHS[1]} blocks, linear in depth',
      of(few.flops, more.flops), of(few.forward_flops, more.forward_flops),
      few.seconds + more.seconds)


def _read(path: str) -> list[dict[str, str]]:
  if not os.path.exists(path):
    return []
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _write(path: str, rows: list[dict[str, str]]) -> None:
  with open(path, 'w', newline='', encoding='utf-8') as file:
    writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)


if __name__ == '__main__':
  main()
