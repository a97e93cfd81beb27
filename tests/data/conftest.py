"""Configs and small image folders for the tests of the data."""

import ml_collections
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def make_config():
  def make(**fields):
    config = ml_collections.ConfigDict(
      {
        'name': 'digits',
        'path': '',
        'task': '',
        'classes': '',
        'image_key': 'image',
        'label_key': 'label',
        'reading': '',
        'train': 'train',
        'val': '',
        'test': 'test',
        'allow_overlap': False,
        'seed': -1,
        'workers': 2,
        'prefetch': 4,
      }
    )
    config.lock()
    config.update({
      k: v if isinstance(v, int) else str(v) for k, v in fields.items()
    })
    return config

  return make


@pytest.fixture
def write_image():
  def write(path, value=0, size=(5, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)

  return write
