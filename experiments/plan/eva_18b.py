"""EVA-CLIP-18B's shape adapted for images on one card of 80 GB.

    python -m lst.plan --config=experiments/plan/eva_18b.py --topology=h100

Kernels in bf16, or in 8 bits with --config.backbone.quantise=int8; weights are
random, nothing is run.
"""

from lst import config as config_lib


def get_config():
  """Locked, as every config."""
  config = config_lib.default()
  # The default when this was measured.
  config.side.residual = 'running'
  config.backbone.weights = 'random:eva_clip_18b/14'
  config.backbone.blocks, config.backbone.quantise = 'scan', 'int8'
  config.side.rank, config.train.batch_size = 16, 16
  return config
