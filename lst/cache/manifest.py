"""manifest.json of a cache: which of its shards are done, and who makes which.

It is for people and schedulers: what is done is what lies on the disk.
"""

import json
import os
import pathlib
import socket
from typing import Any

from lst.cache import claims, folders, layout
from lst.cache.errors import CacheError

MANIFEST = 'manifest.json'


def of(folder: pathlib.Path, plan: layout.Layout) -> dict[str, Any]:
  """What is done of a cache: 'shards', 'done', 'rows', 'rows_done',
  'complete', 'missing' (numbers), 'making' ({number: who})."""
  missing = sorted({f.shard for f in folders.faults(folder, plan)})
  making = claims.held(folder)
  return {
      'shards': plan.shards, 'done': plan.shards - len(missing),
      'rows': plan.rows, 'rows_done': plan.rows - len(plan.rows_of(missing)),
      'complete': not missing, 'missing': missing,
      'making': {str(n): making[n] for n in missing if n in making}}


def write(folder: pathlib.Path, plan: layout.Layout) -> None:
  """Replaces manifest.json in one move."""
  # Workers of several machines may do so at once.
  part = folder / f'{MANIFEST}.{socket.gethostname()}-{os.getpid()}.part'
  part.write_text(json.dumps(of(folder, plan), indent=2) + '\n')
  part.replace(folder / MANIFEST)


def told(folder: pathlib.Path) -> tuple[bool, str]:
  """(whether a cache is complete, that in words); one not begun is not."""
  try:
    plan = layout.read_about(folder).layout
  except CacheError:
    return False, f'{folder}: not begun'
  now = of(folder, plan)
  words = (f'{folder}: {now["done"]} of {now["shards"]} shards, '
           f'{now["rows_done"]:,} of {now["rows"]:,} rows')
  workers = sorted(set(now['making'].values()))
  if workers:
    words += f'; at work: {"; ".join(workers)}'
  return now['complete'], words
