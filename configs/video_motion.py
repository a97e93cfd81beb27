"""LoSA on rendered videos whose classes differ in the order of frames alone.

    python -m lst.main --config=configs/video_motion.py

The classes come in pairs, each the other played backwards, so that no more
than half of the answers can be right without the order of the frames. On the
400 test videos, seeds 0, 1 and 2: 65.0, 54.5 and 63.8%; without time mixing
(--config.side.time_mixing=False) 37.8, 38.8 and 35.3%, by the second version of
the embedded backbone. Needs `pip install
'lst[video]'`; the first run renders and encodes the videos. All of it takes
less than 3 minutes on 2 cores of an AMD EPYC (Zen 5).
"""

from lst.config import default


def get_config():
  config = default()
  config.data.name = 'motion'
  config.data.val = 'val'
  config.data.video.frames = 8
  config.side.rank = 4
  config.side.skip = 6
  # The default when the figures above were measured.
  config.side.residual = 'running'
  config.side.pool = 'mean'
  config.train.epochs = 20.0
  config.train.batch_size = 32
  config.train.eval_batch_size = 40
  config.train.eval_epochs = 4.0
  config.optimizer.lr = 3e-3
  config.optimizer.warmup_epochs = 2.0
  return config
