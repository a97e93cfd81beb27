"""Features kept on disk or in memory, so that the backbone runs once.

A cache takes the place of `extract`: it gives back the same `Features`. What
it keeps is a table of rows (example * views + view) in one of three forms; a
batch of rows moves to the device as it is kept, and `expand` makes features
of it inside the jitted step:

    recipe = cache.Recipe(like, count, produce, fit)
    store = cache.build(root, key, recipe)
    batch = store.batch(rows)
    features = cache.expand(batch.inputs, store.codebook)    # in jit
"""

from lst.cache.alike import Peers
from lst.cache.disk import Disk
from lst.cache.errors import CacheError
from lst.cache.estimate import Choice, Free, Work, choose, free
from lst.cache.forms import FORMS, encode, expand, fit
from lst.cache.key import Key, digest_of, folder_of, root_of
from lst.cache.making import build
from lst.cache.memory import Memory, build_in_memory
from lst.cache.origins import Options, Origin, options, origin
from lst.cache.origins import key as key_of
from lst.cache.preparing import Prepared, prepare
from lst.cache.rows import Produced, Recipe, Store

__all__ = [
    'FORMS',
    'CacheError',
    'Choice',
    'Disk',
    'Free',
    'Key',
    'Memory',
    'Options',
    'Origin',
    'Peers',
    'Prepared',
    'Produced',
    'Recipe',
    'Store',
    'Work',
    'build',
    'build_in_memory',
    'choose',
    'digest_of',
    'encode',
    'expand',
    'fit',
    'folder_of',
    'free',
    'key_of',
    'options',
    'origin',
    'prepare',
    'root_of',
]
