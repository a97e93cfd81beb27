"""`python -m lst.cache build|status|inspect|verify|prune`, see `USAGE`."""

import functools
import signal
import sys
import time

from absl import app, flags

from lst import command

USAGE = """python -m lst.cache COMMAND [FLAGS]
  build --config=FILE [--config.a.b=value]   computes the features of all
      splits of a config, or what is missing of them; the same flags as
      python -m lst.main
      any number of processes on any machines may do so together
  status --config=FILE   says how much of them is there; status 3 if not all;
      --wait returns when all is
  inspect   lists the caches
  verify    reads every checksum; status 1 if anything is damaged;
      --repair deletes what is, so that the next build makes it anew
  prune     deletes caches by --days=N (not used for longer), --gib=N (all
      together take no more) or --incomplete; --dry_run only says which
  --root=FOLDER is where the caches are: by default $LST_CACHE or
      ~/.cache/lst/features"""

_CONFIG = command.define_config()
_ROOT = flags.DEFINE_string('root', '', 'Folder of all caches.')
_REPAIR = flags.DEFINE_bool('repair', False, 'Delete damaged shards.')
_DAYS = flags.DEFINE_float('days', None, 'Prune what was not used for longer.')
_GIB = flags.DEFINE_float('gib', None, 'Prune down to this size.')
_INCOMPLETE = flags.DEFINE_bool('incomplete', False, 'Prune what lacks shards.')
_WAIT = flags.DEFINE_bool('wait', False, 'Wait until all is there.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Only say what would go.')

DAMAGED, MISSING = 1, 3
# Told to leave its machine; the same command goes on.
RESTART = 75


def _parts(config, mesh=None):
  """`_splits` of a config, or of each of its tasks, as its run alone has it."""
  from lst import build, sharding
  from lst.backbones import backbone as backbones
  from lst.backbones import placing
  from lst.tasks import parts
  backbone = backbones.build(config.backbone)
  if mesh is not None:
    build.check_blocks(config.backbone.blocks, mesh)
    backbone = backbone._replace(frozen=sharding.place(
        backbone.frozen, placing.in_its_memory(
            sharding.frozen(mesh, config.mesh.min_size))))
  every = [parts.alone(config, name) for name in config.tasks] or [config]
  return [_splits(one, backbone, mesh) for one in every]


def _splits(config, backbone, mesh):
  """(origin, data) and [(split, options, passes)]; a mesh is to compute on."""
  import jax

  from lst import build, cache, data, sharding
  from lst import method as methods
  from lst.backbones.frozen import of_clips
  dataset = data.build(config.data)
  backbone, classes = of_clips(backbone, dataset.frames), len(dataset.classes)
  plain = method = methods.build(config, backbone, classes)
  if method.extract is None:
    raise ValueError(
        f'config.method={config.method!r} has no frozen features to keep')
  put = {}
  if mesh is not None:
    method = build.on_mesh(mesh, config, backbone, classes)
    put['put'] = functools.partial(
        jax.device_put, device=sharding.batched(mesh))
  options = cache.options(config)._replace(mode='disk')
  if _ROOT.value:
    options = options._replace(path=_ROOT.value)
  usual, epochs = options._replace(augment='none', views=1), config.train.epochs
  augment, views = dataset.test_views
  every = [
      (dataset.train, options, epochs),
      (dataset.val, usual, epochs / config.train.eval_epochs),
      (dataset.test, options._replace(augment=augment, views=views), 1.0)]
  run = method.run if backbone.steps else None
  origin = cache.origin(
      backbone, method.extract, plain=plain.extract, run=run, **put)
  return origin, dataset, [one for one in every if one[0] is not None]


def build(config) -> None:
  """Makes the features of every split of a config, or its tasks, on disk.

  All devices of this host work, `config.mesh.fsdp` of them on one backbone.

  Args:
    config: `lst.config.default()`, changed or not; whatever its cache mode.

  Raises:
    lst.cache.CacheError, lst.data.DataError, ValueError, OSError: as training
      does.
  """
  import jax

  from lst import cache, sharding
  sizes = config.train.batch_size, config.train.eval_batch_size
  mesh = sharding.fitting_mesh(jax.local_devices(), config.mesh.fsdp, sizes)
  for origin, dataset, splits in _parts(config, mesh):
    codebook = None
    for split, how, passes in splits:
      store = cache.prepare(
          origin, how, split, dataset.train, epochs=passes, codebook=codebook,
          note={'data': dataset.name}, progress=_progress).store
      codebook = store.codebook
      print(f'{store.folder}: {store.rows:,} rows of {split.name!r}')


def _status(root) -> int:
  from lst import cache
  from lst.cache import manifest
  if _CONFIG.value is None:
    return command.say(
        'status needs --config=FILE, such as configs/digits.py', command.USAGE)
  # Tasks may share a split.
  found = list(dict.fromkeys(
      cache.folder_of(
          cache.root_of(how.path),
          cache.key_of(origin, how, split, dataset.train))
      for origin, dataset, splits in _parts(_CONFIG.value)
      for split, how, _ in splits))
  while True:
    told = [manifest.told(folder) for folder in found]
    if all(complete for complete, _ in told) or not _WAIT.value:
      break
    time.sleep(5)
  print('\n'.join(words for _, words in told))
  return 0 if all(complete for complete, _ in told) else MISSING


def _progress(done: int, total: int) -> None:
  if sys.stderr.isatty():
    end = '\n' if done == total else ''
    print(f'\r{done:,} of {total:,} rows', end=end, file=sys.stderr, flush=True)


def _build(root) -> int:
  if _CONFIG.value is None:
    return command.say(
        'build needs --config=FILE, such as configs/digits.py', command.USAGE)
  build(_CONFIG.value)
  return 0


def _inspect(root) -> int:
  from rich import box
  from rich.console import Console
  from rich.table import Table

  from lst.cache import caches, estimate
  found = caches.find(root)
  if not found:
    print(f'no caches in {root}')
    return 0
  table = Table(
      title=f'{len(found)} caches in {root}', title_justify='left',
      box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
  for name in ('cache', 'backbone', 'data', 'form', 'rows', 'size', 'unused',
               'whole'):
    table.add_column(name, no_wrap=name == 'cache', overflow='fold')
  for one in found:
    about, plan = one.about, one.about.layout
    rank = about.key['form']['rank'] if about.form == 'projected' else ''
    table.add_row(
        one.folder.name, str(about.note.get('backbone', '')), _data(about),
        f'{about.form} {rank}', f'{plan.rows:,}', estimate.size(one.bytes),
        estimate.duration(max(0.0, time.time() - one.used)),
        f'{plan.shards - one.missing} of {plan.shards} shards'
        if one.missing else 'yes')
  # In a pipe there is no width to keep to.
  console = Console(width=None if sys.stdout.isatty() else 160)
  console.print(table, highlight=False)
  return 0


def _data(about) -> str:
  """Whose features they are, for people."""
  note = about.note
  return f'{note.get("data", "")} {note.get("split", "")}'.strip()


def _verify(root) -> int:
  from lst.cache import caches
  status = 0
  for one in caches.find(root):
    wrong = caches.verify(one)
    if not wrong:
      print(f'{one.folder}: {one.about.layout.shards} shards are whole')
      continue
    status = DAMAGED
    print('\n'.join(wrong))
    if _REPAIR.value:
      print(f'{one.folder}: damaged files deleted: {caches.repair(one)}')
    print(f'  what made it, and makes it whole: {one.about.command}')
  if status and not _REPAIR.value:
    print('--repair deletes what is damaged, and the command above then '
          'makes that, and nothing else, anew')
  return status


def _prune(root) -> int:
  from lst.cache import caches, estimate
  if _DAYS.value is None and _GIB.value is None and not _INCOMPLETE.value:
    return command.say(
        'prune needs --days=N, --gib=N or --incomplete', command.USAGE)
  most = None if _GIB.value is None else _GIB.value * 2**30
  gone = caches.stale(
      caches.find(root), days=_DAYS.value, most_bytes=most,
      incomplete=_INCOMPLETE.value)
  freed = 0
  for one in gone:
    print(f'{"would delete" if _DRY_RUN.value else "deleting"} {one.folder}, '
          f'{estimate.size(one.bytes)}: {one.about.note.get("backbone", "")}, '
          f'{_data(one.about)}')
    if _DRY_RUN.value or caches.delete(one):
      freed += one.bytes
  print(f'{estimate.size(freed)} {"to be " if _DRY_RUN.value else ""}freed')
  return 0


COMMANDS = {
    'build': _build, 'status': _status, 'inspect': _inspect,
    'verify': _verify, 'prune': _prune}


def main(argv: list[str]) -> int:
  """Runs a command; returns the exit status."""
  if len(argv) != 2 or argv[1] not in COMMANDS:
    return command.say(USAGE, command.USAGE)
  from lst import cache, data
  # So that the leases of a worker that is sent away end with it.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(RESTART))
  return command.guarded(
      lambda: COMMANDS[argv[1]](cache.root_of(_ROOT.value)),
      (cache.CacheError, data.DataError),
      'the same command goes on with what is missing')


if __name__ == '__main__':
  app.run(main, flags_parser=command.parser(_CONFIG, USAGE))
