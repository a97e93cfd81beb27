"""LST on digits: a ladder of thin transformer blocks.

    python -m lst.main --config=configs/lst_digits.py

97.0, 97.6 and 97.1 % of the 797 test images (seeds 0, 1, 2).
"""

from lst.config import default


def get_config():
  config = default()
  config.side.name = 'lst'
  config.data.name = 'digits'
  config.train.epochs = 30.0
  config.optimizer.lr = 3e-3
  config.optimizer.warmup_epochs = 3.0
  return config
