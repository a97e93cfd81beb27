"""Linear probe and nearest neighbours on frozen features, beside no training.

Reads ready VTAB-1k folders. The features are the mean over the tokens after
the final norm. C of the logistic regression and k of the neighbours are
chosen by training on `train800` and scoring on `val200`; the choice is fitted
anew on both, and scored on `test`, once.

    python -m experiments.pretrain.evaluate --data=DIR --weights=FILE
"""

import argparse
import csv
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import threadpoolctl
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from experiments.pretrain import augment, model
from lst.backbones import loading

TASKS = ('cifar100', 'caltech101', 'dtd10', 'gtsrb', 'clothing', 'mnist')


def linear(c: float):
  """Logistic regression on standardised features."""
  return make_pipeline(
      StandardScaler(), LogisticRegression(C=c, max_iter=300, tol=1e-3))


def neighbours(k: int):
  """Cosine neighbours, nearer ones counting more."""
  return make_pipeline(
      Normalizer(), KNeighborsClassifier(k, weights='distance'))


PROBES = {
    'linear': (linear, tuple(10.0 ** np.arange(-4.5, 0.6, 0.5))),
    'nearest': (neighbours, (1, 3, 5, 10, 20)),
}


def read_list(task: pathlib.Path, split: str) -> tuple[list[str], np.ndarray]:
  """Paths and labels of one split."""
  lines = (task / f'{split}.txt').read_text().splitlines()
  pairs = [line.rsplit(' ', 1) for line in lines]
  return [path for path, _ in pairs], np.array([int(y) for _, y in pairs])


def pixels(path: pathlib.Path) -> np.ndarray:
  """One image as (64, 64, 3) bytes."""
  with Image.open(path) as image:
    image = image.convert('RGB').resize((64, 64), Image.Resampling.BILINEAR)
  return np.asarray(image)


@jax.jit
def _features(params, images):
  return model.pooled(params, augment.normalise(images))


def features(params: dict, task: pathlib.Path, paths: list[str]) -> np.ndarray:
  """(N, D) features of the images."""
  images = np.stack([pixels(task / path) for path in paths])
  return np.concatenate([
      _features(params, images[i:i + 100])
      for i in range(0, len(images), 100)])


def splits(params: dict, task: pathlib.Path) -> dict[str, tuple]:
  """(features, labels) of each split the probes take."""
  result = {}
  for name in ('train800', 'val200', 'test'):
    paths, labels = read_list(task, name)
    result[name] = features(params, task, paths), labels
  pairs = zip(result['train800'], result['val200'], strict=True)
  return result | {'both': tuple(np.concatenate(pair) for pair in pairs)}


def probe(name: str, data: dict[str, tuple]) -> tuple[float, float]:
  """Test accuracy of one probe, and the setting chosen on validation."""
  build, settings = PROBES[name]

  def score(setting):
    return build(setting).fit(*data['train800']).score(*data['val200'])

  # On so little data a second thread only waits for the first.
  with threadpoolctl.threadpool_limits(1):
    chosen = max(settings, key=score)
    return build(chosen).fit(*data['both']).score(*data['test']), chosen


def networks(weights: pathlib.Path, seed: int) -> dict[str, dict]:
  """The trained parameters, and the same network as it was initialised."""
  params = loading.load(weights).params
  return {
      'pretrained': jax.tree.map(jnp.float32, params),
      'untrained': model.build().init(
          jax.random.key(seed), jnp.zeros((1, 64, 64, 3)))['params'],
  }


def main():
  """Reads the flags, prints the table, writes `results.csv`."""
  here = pathlib.Path(__file__).parent
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--data', type=pathlib.Path, required=True,
                      help='folder of the unpacked tasks')
  parser.add_argument('--weights', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, default=here / 'results.csv')
  parser.add_argument('--seed', type=int, default=0, help='of the untrained')
  flags = parser.parse_args()
  rows = []
  for task in TASKS:
    for network, params in networks(flags.weights, flags.seed).items():
      data = splits(params, flags.data / task)
      for name in PROBES:
        score, chosen = probe(name, data)
        rows.append((task, network, name, round(score, 4), f'{chosen:.3g}'))
        print(*rows[-1], flush=True)
  with flags.out.open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(('task', 'network', 'probe', 'test_accuracy', 'chosen'))
    writer.writerows(rows)


if __name__ == '__main__':
  main()
