"""Parallel adapters on digits.

    python -m lst.main --config=configs/parallel_digits.py
"""

from lst.config import default


def get_config():
  config = default()
  config.method = 'parallel'
  config.data.name = 'digits'
  config.train.epochs = 30.0
  config.optimizer.lr = 1e-3
  config.optimizer.warmup_epochs = 3.0
  return config
