"""Adapters on any edge between the states of a frozen backbone, and where.

An edge reads one of the 2L + 1 states and adds to one: `edges` has what they
are, `placed` the network with adapters on them, `moving` that of any set of
edges, which `plans` has as arrays, `scores` how much a task asks for each,
`selections` which of them to take. After Nowak et al., "Towards Optimal Adapter
Placement for Efficient Transfer Learning", 2024.
"""

from lst.placement.costs import Costs, Layers, costs, latency, layers
from lst.placement.edges import (
    Edge,
    checked,
    everything,
    parallel,
    passes,
    sequential,
)
from lst.placement.moving import Movable, movable
from lst.placement.placed import Adapter, Placed, Unlearned, place
from lst.placement.plans import Plan, plan
from lst.placement.scores import (
    SCORES,
    States,
    between,
    scored,
    spectra,
    states,
)
from lst.placement.selections import (
    SELECTIONS,
    Asked,
    gradient_guided,
    select,
    tap_map,
)

__all__ = [
    'SCORES',
    'SELECTIONS',
    'Adapter',
    'Asked',
    'Costs',
    'Edge',
    'Layers',
    'Movable',
    'Placed',
    'Plan',
    'States',
    'Unlearned',
    'between',
    'checked',
    'costs',
    'everything',
    'gradient_guided',
    'latency',
    'layers',
    'movable',
    'parallel',
    'passes',
    'place',
    'plan',
    'scored',
    'select',
    'sequential',
    'spectra',
    'states',
    'tap_map',
]
