"""One backbone, many tasks: trained in one frozen pass, served in one pass.

Training (`run`): a step takes a batch of every task, `mixed.mix` puts their
rows together, the backbone sees them once, and the features are split again
into equal blocks, on which all side networks and heads, padded and stacked, are
trained by one `vmap`. Each task keeps its own order of data, schedule and best
parameters, so it ends as it would alone. Features that are cached take the
place of the pass, task by task.

Serving (`serve`): many trained side networks, stacked; every row of a batch
gathers the weights of its own task.
"""

from lst.tasks.loop import run
from lst.tasks.parts import asked
from lst.tasks.served import Served, serve

__all__ = ['Served', 'asked', 'run', 'serve']
