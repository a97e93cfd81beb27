"""Full fine-tuning on digits.

    python -m lst.main --config=configs/full_digits.py
"""

from lst.config import default


def get_config():
  config = default()
  config.method = 'full'
  config.data.name = 'digits'
  config.train.epochs = 30.0
  config.optimizer.lr = 1e-4
  config.optimizer.warmup_epochs = 3.0
  return config
