"""Two tasks on one frozen backbone, digits and drawn shapes, no download.

    python -m lst.main --config=configs/two_tasks.py

Each task ends as an ordinary run in a folder of its own below the workdir.
"""

from lst.config import data, default


def get_config():
  config = default()
  config.tasks.digits = data()
  config.tasks.shapes = data()
  config.tasks.shapes.name = 'procedural'
  config.tasks.shapes.task = 'shape'
  config.train.epochs = 30.0
  config.optimizer.lr = 3e-3
  config.optimizer.warmup_epochs = 3.0
  return config
