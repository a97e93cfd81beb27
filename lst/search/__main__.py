"""`python -m lst.search --config=FILE [--workdir=DIR] [--config.a.b=value]`."""

from absl import app, flags

from lst import command

_CONFIG = command.define_config()
_WORKDIR = flags.DEFINE_string(
    'workdir', None,
    'Folder of what is found; by default runs/<name of the config>-search.')


def _search() -> int:
  from lst import search
  folder = _WORKDIR.value
  if folder is None:
    folder = f'runs/{command.config_name()}-search'
  search.run(_CONFIG.value, folder)
  return 0


def main(argv: list[str]) -> int:
  """Searches with the config of the flags; returns the exit status."""
  if len(argv) > 1:
    return command.say(f'not a flag: {" ".join(argv[1:])}', command.USAGE)
  from lst import cache, data
  return command.guarded(
      _search, (cache.CacheError, data.DataError), 'nothing was written')


if __name__ == '__main__':
  app.run(main, flags_parser=command.parser(_CONFIG))
