"""`python -m lst.plan --config=FILE [--topology=v5e:2x2|v6e|h100|h200]`."""

import copy
import csv
import sys

from absl import app, flags
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file, such as configs/digits.py.',
    lock_config=True)
_TOPOLOGY = flags.DEFINE_string(
    'topology', 'v5e:1x1', 'What to plan for: CHIP or CHIP:ROWSxCOLUMNS.')
_CLASSES = flags.DEFINE_integer('classes', 1000, 'Classes of the data.')
_RIVALS = flags.DEFINE_bool(
    'rivals', True, 'Whether to plan the other methods as well.')
_EXAMPLES = flags.DEFINE_integer(
    'examples', 0, 'Training examples, for the chip-hours of the run.',
    lower_bound=0)
_PRICE = flags.DEFINE_float(
    'price', 0.0, 'Of one chip for an hour, in any currency, for its cost.',
    lower_bound=0.0)
_CSV = flags.DEFINE_string('csv', None, 'A file to write the table to.')

STOPPED, USAGE = 1, 2


def main(argv: list[str]) -> int:
  """Plans the config of the flags; returns the exit status."""
  if len(argv) > 1 or _CONFIG.value is None:
    print('use: python -m lst.plan --config=FILE [--topology=v5e:2x2]',
          file=sys.stderr)
    return USAGE
  from lst import config as config_lib
  from lst.plan import chips, cost, table
  config = _CONFIG.value
  try:
    config_lib.check(config)
    chip, found = chips.devices(_TOPOLOGY.value)
    rows = table.rows(
        copy.deepcopy(config), _CLASSES.value, chip, found, _RIVALS.value,
        cost.Bill(_EXAMPLES.value, _PRICE.value) if _EXAMPLES.value else None)
    said = [table.show(rows, chip, _TOPOLOGY.value, config)]
  except (OSError, RuntimeError, ValueError) as error:
    print(f'{type(error).__name__}: {error}', file=sys.stderr)
    return STOPPED
  print(*said)
  if _CSV.value:
    with open(_CSV.value, 'w', newline='', encoding='utf-8') as file:
      writer = csv.DictWriter(file, table.FIELDS)
      writer.writeheader()
      writer.writerows(rows)
  return 0


if __name__ == '__main__':
  app.run(main)
