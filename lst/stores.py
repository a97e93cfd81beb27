"""The features of a split that a run keeps, made where they are missing."""

import functools

import jax

from lst import cache, data, hosts, sharding
from lst.build import method_here, plain_extract


def evaluated(config, built, name: str) -> tuple[str, int]:
  """The augmentation and the number of views of what is evaluated.

  Raises:
    lst.data.DataError: a batch would cut the views of an example apart.
  """
  if name != 'test':
    return 'none', 1
  augment, views = built.dataset.test_views
  size = config.train.eval_batch_size
  if size % views:
    raise data.DataError(
        f'config.train.eval_batch_size={size} holds no whole number of videos '
        f'of {views} views (data.video.test_clips x test_crops): make it a '
        f'multiple of {views}')
  return augment, views


def store(config, built, name, filling, codebook=None):
  """The features of one split, or None if they are computed on the spot."""
  options, passes = cache.options(config), config.train.epochs
  if name != 'train':
    # What is evaluated are the plain images.
    augment, views = evaluated(config, built, name)
    options = options._replace(
        views=views, augment=augment, batch_size=config.train.eval_batch_size)
    passes = config.train.epochs / config.train.eval_epochs + 1
  if name == 'test':
    # Read once: nothing is won by keeping it in memory for that.
    passes = 1
    if options.mode == 'ram':
      return None
  split = getattr(built.dataset, name)
  method, weights, mesh = method_here(built, config)
  origin = cache.origin(
      built.backbone, method.extract, frozen=weights,
      put=functools.partial(_put_here, mesh=mesh),
      plain=plain_extract(built, config),
      run=method.run if built.backbone.steps else None)
  with filling.of(f'features of {split.name}') as progress:
    return cache.prepare(
        origin, options, split, built.dataset.train, epochs=passes,
        codebook=codebook, note={'data': built.dataset.name},
        say=filling.say, progress=progress, peers=_peers(built)).store


def _put_here(images, mesh):
  return jax.device_put(images, sharding.batched(mesh))


def _peers(built) -> cache.Peers:
  """The processes of this run: each extracts its part of every batch."""
  everywhere = sharding.replicated(built.mesh)
  gather = jax.jit(lambda made: made, out_shardings=everywhere)

  def whole(batch):
    batch = sharding.put_batch(batch, built.mesh)
    taps = built.method.run(built.weights, batch.inputs).taps
    made = gather((taps, batch._replace(inputs=())))
    taps, batch = jax.tree.map(lambda x: x.addressable_data(0), made)
    return taps, jax.device_get(batch)

  return cache.Peers(
      jax.process_index(), jax.process_count(), hosts.agreed, whole)
