"""SSF on digits: a scale and a shift after every layer.

    python -m lst.main --config=configs/ssf_digits.py
"""

from lst.config import default


def get_config():
  config = default()
  config.method = 'ssf'
  config.data.name = 'digits'
  config.train.epochs = 30.0
  config.optimizer.lr = 3e-3
  config.optimizer.warmup_epochs = 3.0
  return config
