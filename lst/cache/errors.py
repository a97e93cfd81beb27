"""What goes wrong with a cache, in words."""

MEND = ('The command that made it (training, or `python -m lst.cache build`) '
        'computes it, and nothing else, anew.')


class CacheError(Exception):
  """A cache is missing, incomplete, damaged or not what was asked for.

  The message says which, in which folder and shard, and what to do.
  """
