"""What decides features: where they come from, how they are kept."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lst.cache import key as keys
from lst.cache import traces
from lst.cache.errors import CacheError
from lst.data import Split, fingerprint
from lst.features import Features

# A codebook is found on at most so many rows of the training split.
FIT_ROWS = 2048


class Origin(NamedTuple):
  """What features come from.

  Attributes:
    extract: (frozen, images uint8 (B, [T,] H, W, 3)) -> prepared features;
      pure.
    frozen: the weights, on the devices.
    digest: `lst.cache.digest_of` the weights.
    name: of the backbone, for people.
    image_size: ([frames,] height, width) in pixels.
    mean, std: that images are brought to.
    dtype: of the features.
    put: moves a batch of images to the devices.
    plain: `extract` as the key knows it, where it says how weights lie; None
      = `extract`.
    run: `extract` where it is no program but runs on the host; None = it can be
      compiled.
  """

  extract: Callable[[Any, Any], Features]
  frozen: Any
  digest: str
  name: str
  image_size: tuple[int, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  put: Callable[[Any], Any] = jnp.asarray
  plain: Callable[[Any, Any], Features] | None = None
  run: Callable[[Any, Any], Features] | None = None

  @property
  def runs(self) -> Callable[[Any, Any], Features]:
    """What makes features of arrays."""
    return self.run or jax.jit(self.extract)

  @property
  def like(self) -> Features:
    """The features of one image, as shapes."""
    images = jax.ShapeDtypeStruct((1, *self.image_size, 3), np.uint8)
    return jax.eval_shape(self.extract, self.frozen, images)


class Options(NamedTuple):
  """How features are kept; each has the meaning it has in `lst.config`."""

  mode: str
  path: str
  form: str
  rank: int
  augment: str
  views: int
  resize: str
  batch_size: int
  workers: int
  prefetch: int


def origin(
    backbone: Any, extract: Callable, frozen: Any = None,
    put: Callable[[Any], Any] = jnp.asarray, plain: Callable | None = None,
    run: Callable | None = None,
) -> Origin:
  """The origin of a `lst.backbones` backbone under a method's `extract`.

  Args:
    backbone: without its weights, if `frozen` has them.
    extract: of the method.
    frozen: the weights, where they are on the devices already.
    put: moves a batch of images to the devices.
    plain, run: as `Origin` has them.

  Raises:
    CacheError: there are no weights.
  """
  frozen = backbone.frozen if frozen is None else frozen
  if not jax.tree.leaves(frozen):
    raise CacheError(
        f'{backbone.name} comes without weights, so no key can tell its '
        'features from others: give `frozen`')
  return Origin(
      extract, frozen, keys.digest_of(frozen), backbone.name,
      tuple(backbone.input_size), tuple(backbone.mean), tuple(backbone.std),
      backbone.dtype, put, plain, run)


def options(config: Any) -> Options:
  """The options of a config (`lst.config.default()`)."""
  return Options(
      config.cache.mode, config.cache.path, config.cache.form,
      config.cache.rank, config.data.augment, config.data.views,
      config.data.resize, config.train.batch_size, config.data.workers,
      config.data.prefetch)


def key(origin: Origin, options: Options, split: Split, train: Split):
  """The key of the features of `split`, with a codebook found on `train`."""
  form, fitted_on = {'name': options.form}, ''
  if options.form == 'projected':
    form['rank'] = options.rank
  if options.form != 'exact':
    form['rows'], fitted_on = FIT_ROWS, fingerprint(train)
  views = {'augment': options.augment, 'views': options.views, 'seed': 0}
  preprocessing = {
      'image_size': origin.image_size, 'resize': options.resize,
      'mean': origin.mean, 'std': origin.std}
  if split.video:
    preprocessing['video'] = split.video.sampling._asdict()
  return keys.Key(
      origin.digest, preprocessing, program(origin), origin.dtype, form, views,
      fingerprint(split), fitted_on)


def program(origin: Origin) -> str:
  """A digest of what `extract` computes, from its trace.

  It stands for the architecture, the taps and what a side network prepares of
  them, and changes with the code, so that no cache outlives it.
  """
  images = jax.ShapeDtypeStruct((1, *origin.image_size, 3), np.uint8)
  shapes = jax.eval_shape(lambda x: x, origin.frozen)
  return traces.digest_of(origin.plain or origin.extract, shapes, images)
