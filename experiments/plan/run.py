"""`python -m experiments.plan.run --out=FILE`: which method fits, in a table.

Compiles training steps for devices that are not there. A method whose blocks
or side blocks the compiler sees one by one takes it long at 56 of them; such a
row is made of compilations of 2 and 4 blocks, in which every size and FLOPs are
taken as linear in the number of blocks, and its note says so.
"""

import copy
import csv
import os

from absl import app, flags

from experiments.plan import vit_e_video
from lst.backbones import presets
from lst.plan import chips, programs, table

_OUT = flags.DEFINE_string('out', 'experiments/plan/results.csv', 'The table.')
_FRAMES = flags.DEFINE_list('frames', ['8', '16', '32'], 'Of a clip.')
_METHODS = flags.DEFINE_list('methods', [], 'Rows; all by default.')

TOPOLOGY, SIZE = 'v5e:1x1', 'e'
DEPTHS = 2, 4
# Those that are compiled at full depth: the backbone is scanned, and the side
# network has no block of its own, or a small one.
WHOLE = ('losa', 'losa + int8 taps', 'losa + no taps', 'linear', 'attentive')
FIELDS = ('topology', 'backbone', 'frames', 'batch', *table.FIELDS)


def main(argv: list[str]) -> None:
  """Adds every row that is not there yet."""
  del argv
  chip, found = chips.devices(TOPOLOGY)
  done = _read(_OUT.value)
  for frames in map(int, _FRAMES.value):
    for name in _METHODS.value or ('losa', *table.RIVALS):
      if (str(frames), name) in {(r['frames'], r['method']) for r in done}:
        continue
      row = _row(name, frames, chip, found)
      print(row, flush=True)
      done = sorted(
          [*_read(_OUT.value), row],
          key=lambda r: (int(r['frames']), r['method']))
      _write(_OUT.value, done)


def _row(name: str, frames: int, chip, found: list) -> dict[str, str]:
  config = vit_e_video.get_config()
  config.data.video.frames = frames
  changes = {'method': 'side', **table.RIVALS.get(name, {})}
  config = table.changed(config, changes)
  if name in WHOLE:
    made = programs.plan(config, 400, found)
  else:
    made = _between(*(
        programs.plan(_of_depth(config, d), 400, found) for d in DEPTHS))
  row = table.of_plan(name, made, config, chip, len(found))
  return {k: str(v) for k, v in ({
      'topology': TOPOLOGY, 'backbone': config.backbone.weights,
      'frames': frames, 'batch': config.train.batch_size} | row).items()}


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
  app.run(main)
