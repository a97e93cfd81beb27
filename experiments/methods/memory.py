"""Memory of a step of every method, to memory.csv: compiled for a chip.

    python -m experiments.methods.memory [--topology=h100] [--weights=embedded]

A step on a CPU shares its process with the compiler, whose own memory hides
that of the step. So each is compiled for an accelerator, which need not be
there (`lst.plan`; `pip install 'lst[plan]'`): a GPU by default, as what lies in
the on-chip memory of a TPU, here nearly all, is not counted there.
"""

import argparse
import csv
import pathlib

from experiments.methods.costs import REMAT, cases, entry_of
from experiments.methods.methods import METHODS, sizes
from experiments.methods.run import config_of

HERE = pathlib.Path(__file__).parent
# Of the tasks that costs.csv was measured on.
CLASSES = 10


def main(argv: list[str] | None = None) -> None:
  """Compiles all methods for one device and writes the table."""
  from lst.plan import chips, programs
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--methods', nargs='*', default=[*METHODS, *REMAT])
  parser.add_argument('--results', type=pathlib.Path, default=HERE)
  parser.add_argument('--topology', default='h100')
  parser.add_argument('--weights', default='embedded')
  parser.add_argument('--size', type=int, default=32, help='pixels a side')
  parser.add_argument('--batch_size', type=int, default=32)
  parser.add_argument('--name', default='memory.csv')
  args = parser.parse_args(argv)
  _, found = chips.devices(args.topology)
  fields = ('method', 'option', 'peak_mib', *(
      f'{name}_mib' for name in programs.Sizes._fields), 'size', 'batch',
      'weights', 'compiled_for')
  with (args.results / args.name).open('w', newline='') as file:
    writer = csv.DictWriter(file, fields, lineterminator='\n')
    writer.writeheader()
    for name, option in cases(args.methods):
      entry = entry_of(name)
      config = config_of(
          entry, entry.option[1][option], args.size, 10.0, args.batch_size)
      config.backbone.weights = args.weights
      config.backbone.dtype = 'bfloat16'
      taken, refused = programs.memory(config, CLASSES, found, 0)
      if taken is None:
        raise RuntimeError(f'{name} does not fit {args.topology}: {refused}')
      total = {'peak': taken.total} | taken._asdict()
      row = {'method': name, 'option': sizes(entry)[option]} | {
          f'{part}_mib': round(n / 2**20, 2) for part, n in total.items()
      } | {'size': args.size, 'batch': args.batch_size,
           'weights': args.weights, 'compiled_for': args.topology}
      writer.writerow(row)
      print(name, row['peak_mib'], flush=True)


if __name__ == '__main__':
  main()
