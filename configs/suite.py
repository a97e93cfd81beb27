"""LoSA on every task of a suite, settings chosen by validation.

    python -m lst.vtab run --config=configs/suite.py --suite=bundled
    python -m lst.vtab report --config=configs/suite.py --suite=bundled

`--suite=vtab --path=DIR` takes the 19 tasks of VTAB-1k, `--suite=folder
--path=DIR` every ready folder there is; a checkpoint of your own and its size
are `--config.backbone.weights` and `--config.backbone.image_size`. A single
task outside a suite: python -m lst.main --config=configs/suite.py, which
tunes on the digits.
"""

from lst.config import default


def get_config():
  config = default()
  config.data.name = 'digits'
  config.data.train = 'train[:800]'
  config.data.val = 'train[800:]'
  config.train.epochs = 30.0
  config.optimizer.warmup_epochs = 3.0
  # The budget of tuning: one pass, all values together.
  config.sweep.lr = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
  return config
