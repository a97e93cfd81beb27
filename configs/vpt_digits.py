"""VPT-deep on digits: 10 prompts in every block.

    python -m lst.main --config=configs/vpt_digits.py
"""

from lst.config import default


def get_config():
  config = default()
  config.method = 'vpt'
  config.data.name = 'digits'
  config.train.epochs = 30.0
  config.optimizer.lr = 1e-2
  config.optimizer.warmup_epochs = 3.0
  return config
