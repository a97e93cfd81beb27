"""Ways to adapt that back-propagate through the backbone."""

from lst.tuning.adapters import adaptformer, parallel, sequential
from lst.tuning.build import TUNINGS, build
from lst.tuning.lora import lora
from lst.tuning.prompts import vpt
from lst.tuning.scales import ssf
from lst.tuning.st_adapter import st_adapter
from lst.tuning.tuning import Tuning, states
from lst.tuning.weights import bitfit, full

__all__ = [
    'TUNINGS', 'Tuning', 'adaptformer', 'bitfit', 'build', 'full', 'lora',
    'parallel', 'sequential', 'ssf', 'st_adapter', 'states', 'vpt']
