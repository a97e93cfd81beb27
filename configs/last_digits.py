"""LAST on digits: low-rank self-attention beside the backbone.

    python -m lst.main --config=configs/last_digits.py
"""

from lst.config import default


def get_config():
  config = default()
  config.side.name = 'last'
  config.data.name = 'digits'
  config.train.epochs = 30.0
  config.optimizer.lr = 3e-3
  config.optimizer.warmup_epochs = 3.0
  return config
