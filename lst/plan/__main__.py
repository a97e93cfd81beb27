"""`python -m lst.plan --config=FILE [--topology=v5e:2x2|v6e|h100|h200]`."""

import copy
import csv

from absl import app, flags

from lst import command

_CONFIG = command.define_config()
_TOPOLOGY = flags.DEFINE_string(
    'topology', 'v5e:1x1', 'What to plan for: CHIP or CHIP:ROWSxCOLUMNS.')
_CLASSES = flags.DEFINE_integer('classes', 1000, 'Classes of the data.')
_RIVALS = flags.DEFINE_bool(
    'rivals', True, 'Whether to plan the other methods as well.')
_ONLY = flags.DEFINE_list(
    'only', [], 'Of the other methods, those to plan; all by default.')
_EXAMPLES = flags.DEFINE_integer(
    'examples', 0, 'Training examples, for the chip-hours of the run.',
    lower_bound=0)
_PRICE = flags.DEFINE_float(
    'price', 0.0, 'Of one chip for an hour, in any currency, for its cost.',
    lower_bound=0.0)
_CSV = flags.DEFINE_string('csv', None, 'A file to write the table to.')


def to_fit(config, row, chip, found, bill) -> tuple[list, str]:
  """A row of a form that fits `config.memory` where the config does not.

  'auto' is here what the chip has.

  Returns:
    (no row or one, what was chosen and why).
  """
  from lst.plan import fitting, programs, table
  config = copy.deepcopy(config)
  if config.memory == 'auto':
    config.memory = str(chip.memory / fitting.GIB)
  limit, total = fitting.budget(config.memory), row['total_mib']
  if not limit or (total != '' and total * table.MIB <= limit):
    return [], ''
  try:
    config, why = fitting.fitted(
        config, found, _CLASSES.value, programs.frames_of(config))
  except ValueError as error:
    return [], f'\n{error}'
  made = table.row(
      f'{row["method"]}, to fit', config, _CLASSES.value, chip, found, bill)
  return [made], f'\nconfig.memory: {why}'


def main(argv: list[str]) -> int:
  """Plans the config of the flags; returns the exit status."""
  if len(argv) > 1:
    return command.say(f'not a flag: {" ".join(argv[1:])}', command.USAGE)
  from lst.plan import chips, cost, table
  config = _CONFIG.value
  try:
    chip, found = chips.devices(_TOPOLOGY.value)
    bill = None
    if _EXAMPLES.value:
      bill = cost.Bill(_EXAMPLES.value, _PRICE.value)
    rows = list(table.rows(
        copy.deepcopy(config), _CLASSES.value, chip, found, _RIVALS.value,
        bill, _ONLY.value))
    more, why = to_fit(config, rows[0], chip, found, bill)
    rows[1:1] = more
    said = [table.show(rows, chip, _TOPOLOGY.value, config) + why]
  except (OSError, RuntimeError, ValueError) as error:
    return command.say(f'{type(error).__name__}: {error}', command.STOPPED)
  print(*said)
  if _CSV.value:
    with open(_CSV.value, 'w', newline='', encoding='utf-8') as file:
      writer = csv.DictWriter(file, table.FIELDS)
      writer.writeheader()
      writer.writerows(rows)
  return 0


if __name__ == '__main__':
  app.run(main, flags_parser=command.parser(_CONFIG))
