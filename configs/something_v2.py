"""LoSA on Something-Something v2, ViT-B/16 of ImageNet-21k frame by frame.

    python -m lst.main --config=configs/something_v2.py --config.data.path=DIR

DIR is as the dataset is handed out, of 174 classes: 20bn-something-something-v2
with *.webm, and labels with labels.json, train.json and validation.json;
nothing of it is fetched. Otherwise a CSV file with the columns path, label and
split: --config.data.name=video_csv --config.data.path=FILE. The weights come
from the Hugging Face hub.

Clips of 8 frames from equal parts of a video, never mirrored: left and right
are what many classes differ in. A test averages 2 moments x 3 windows. Made for
an accelerator; no number of it has been measured yet. Rivals: side.name=
side4video, method=st_adapter.
"""

from lst.config import default


def get_config():
  config = default()
  config.data.name = 'something'
  config.data.test = 'validation'
  config.data.augment = 'crop'
  config.data.views = 8
  config.data.workers = 16
  config.data.video.frames = 8
  config.data.video.short_side = 256
  config.data.video.test_clips = 2
  config.data.video.test_crops = 3
  config.backbone.weights = 'vit_b16_in21k'
  # Features of all clips would fill terabytes.
  config.cache.mode = 'off'
  config.train.epochs = 30.0
  config.train.eval_batch_size = 48
  config.optimizer.warmup_epochs = 3.0
  return config
