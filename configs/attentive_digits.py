"""The attentive probe on digits.

    python -m lst.main --config=configs/attentive_digits.py

96.0, 95.7 and 96.0 % of the 797 test images (seeds 0, 1, 2).
"""

from lst.config import default


def get_config():
  config = default()
  config.side.name = 'attentive'
  config.data.name = 'digits'
  config.train.epochs = 30.0
  config.optimizer.lr = 3e-3
  config.optimizer.warmup_epochs = 3.0
  return config
