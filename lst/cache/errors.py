"""What goes wrong with a cache, in words."""


class CacheError(Exception):
  """A cache is missing, incomplete, damaged or not what was asked for.

  The message says which, in which folder and shard, and what to do.
  """
