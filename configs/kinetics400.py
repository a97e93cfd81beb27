"""LoSA on Kinetics-400, ViT-B/16 of ImageNet-21k frame by frame.

    python -m lst.main --config=configs/kinetics400.py --config.data.path=DIR

DIR holds train/<class>/*.mp4 and val/<class>/*.mp4, of 400 classes; nothing of
it is fetched. As a list instead, a CSV file with the columns path, label and
split: --config.data.name=video_csv --config.data.path=FILE. The weights come
from the Hugging Face hub.

Clips of 8 frames, 16 apart; a test averages 4 moments x 3 windows. Made for an
accelerator; no number of it has been measured yet. Rivals: side.name=
side4video, method=st_adapter (which its authors put ahead of the MLP alone
here: tuning.st_adapter.where=mlp).
"""

from lst.config import default


def get_config():
  config = default()
  config.data.name = 'video_folder'
  config.data.test = 'val'
  config.data.augment = 'flip'
  config.data.views = 8
  config.data.workers = 16
  config.data.video.frames = 8
  config.data.video.sampling = 'dense'
  config.data.video.stride = 16
  config.data.video.short_side = 256
  config.data.video.test_clips = 4
  config.data.video.test_crops = 3
  config.backbone.weights = 'vit_b16_in21k'
  # Features of all clips would fill terabytes.
  config.cache.mode = 'off'
  config.train.epochs = 30.0
  config.train.eval_batch_size = 48
  config.optimizer.warmup_epochs = 3.0
  return config
