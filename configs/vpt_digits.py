"""VPT-deep on digits: 10 prompts in every block.

    python -m lst.main --config=configs/vpt_digits.py

Tuned, at 32 pixels and for 10 epochs: 97.0, 97.2 and 96.9 % of the 797 test
images (seeds 0, 1, 2; experiments/methods/). As it stands, at 64 pixels, it has
not been measured.
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
