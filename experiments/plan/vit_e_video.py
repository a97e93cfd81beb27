"""ViT-e adapted for clips: the config that the plan is of.

    python -m lst.plan --config=experiments/plan/vit_e_video.py \
        --topology=v5e:1x1 --classes=400 --config.data.video.frames=32

A batch is one clip on each chip; weights are random, nothing is run.
"""

from lst import config as config_lib


def get_config():
  """Locked, as every config."""
  config = config_lib.default()
  # The default when this was measured.
  config.side.residual = 'running'
  config.data.name = 'video_folder'
  config.data.video.frames = 8
  config.backbone.weights, config.backbone.blocks = 'random:e/14', 'scan'
  config.side.rank, config.train.batch_size = 16, 1
  return config
