"""LoRA on digits, with rematerialised blocks: the rival in memory.

    python -m lst.main --config=configs/lora_digits.py
"""

from lst.config import default


def get_config():
  config = default()
  config.method = 'lora'
  config.tuning.remat = True
  config.data.name = 'digits'
  config.train.epochs = 30.0
  config.optimizer.lr = 3e-3
  config.optimizer.warmup_epochs = 3.0
  return config
