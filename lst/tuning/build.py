"""The table of tunings, and the one place that reads their config."""

from lst.backbones.backbone import Backbone
from lst.tuning.adapters import adaptformer, parallel, sequential
from lst.tuning.lora import lora
from lst.tuning.prompts import vpt
from lst.tuning.scales import ssf
from lst.tuning.st_adapter import st_adapter
from lst.tuning.tuning import Tuning
from lst.tuning.weights import bitfit, full


def _lora(config, backbone: Backbone) -> Tuning:
  del backbone
  return lora(config.lora.rank, config.lora.scale, config.lora.targets)


def _adaptformer(config, backbone: Backbone) -> Tuning:
  return adaptformer(
      backbone, config.adaptformer.rank, config.adaptformer.scale)


def _parallel(config, backbone: Backbone) -> Tuning:
  config = config.parallel
  return parallel(backbone, config.rank, config.scale, config.where)


def _sequential(config, backbone: Backbone) -> Tuning:
  config = config.sequential
  return sequential(backbone, config.rank, config.scale, config.where)


def _st_adapter(config, backbone: Backbone) -> Tuning:
  config = config.st_adapter
  return st_adapter(backbone, config.rank, config.kernel, config.where)


TUNINGS = {
    'full': lambda config, backbone: full(),
    'bitfit': lambda config, backbone: bitfit(),
    'vpt': lambda config, backbone: vpt(backbone, config.vpt.tokens),
    'lora': _lora,
    'adaptformer': _adaptformer,
    'parallel': _parallel,
    'sequential': _sequential,
    'ssf': lambda config, backbone: ssf(),
    'st_adapter': _st_adapter,
}


def build(config, name: str, backbone: Backbone) -> Tuning:
  """A tuning of `TUNINGS` from the `tuning` part of a config.

  Raises:
    ValueError: a field outside its range.
  """
  return TUNINGS[name](config, backbone)
