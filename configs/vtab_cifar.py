"""VTAB-1k CIFAR-100, ViT-B/16 of ImageNet-21k, LoSA: the headline config.

    python -m lst.main --config=configs/vtab_cifar.py

Fetches CIFAR-100 through TFDS (`pip install -e '.[prepare]'`) and the weights
from the Hugging Face hub. Made for an accelerator; no number of it has been
measured yet. The 1,000 images are train800val200 as VTAB-1k defines them.
To choose settings: train `train[:800]`, val `train[45000:45200]`.

A ready folder and the embedded backbone need no network, and 2 CPU cores:

    python -m lst.main --config=configs/vtab_cifar.py \\
        --config.data.name=vtab --config.data.path=DIR/cifar100 \\
        --config.data.train=train800val200 --config.backbone.weights=embedded \\
        --config.train.epochs=20 --config.optimizer.warmup_epochs=2

(20 epochs are enough for that small backbone and ten images a class.) Figures:
experiments/first_results.
"""

from lst.config import default


def get_config():
  config = default()
  config.data.name = 'tfds'
  config.data.task = 'cifar100:3.0.2'
  config.data.train = 'train[:800]+train[45000:45200]'
  config.backbone.weights = 'vit_b16_in21k'
  config.side.rank = 8
  config.optimizer.lr = 1e-3
  config.optimizer.weight_decay = 1e-4
  config.optimizer.warmup_epochs = 10.0
  config.train.epochs = 100.0
  return config
