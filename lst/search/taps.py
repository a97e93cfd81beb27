"""Which states feed which side block: the search without any backprop.

The side network is trained for a while with a block beside every block of the
backbone. The gradient of its loss with respect to what each block reads, and
the states of the plain pass, give the gradient of a linear map from any state
into any block. Nothing is differentiated through the backbone.
"""

import jax
import numpy as np

from lst import build, placement, sharding
from lst.backbones.backbone import extractor
from lst.search import scoring

# Side networks that read the last state alone.
ONE_STATE = ('linear', 'attentive')


def warm_config(config):
  """The config of the side network with a block beside every block."""
  out = scoring.shortened(config)
  with out.unlocked():
    out.method, out.side.taps, out.side.keep = 'side', (), 'exact'
  return out


def check(config) -> None:
  """Raises ValueError unless a search for taps can be as `config` says."""
  search, name = config.search, config.side.name
  if name in ONE_STATE:
    raise ValueError(
        f'config.side.name={name!r} reads one state: there are no taps to '
        'search for')
  if name == 'last' and search.count < 2:
    raise ValueError(
        f"config.search.count={search.count}: config.side.name='last' needs "
        'two taps or more')
  if search.selection != 'gga':
    raise ValueError(
        f'config.search.selection={search.selection!r} chooses edges: taps '
        "are chosen by 'gga' alone")
  for field in ('cost', 'least', 'rescore_steps'):
    if search[field]:
      raise ValueError(
          f'config.search.{field}={search[field]} is of edges: for taps leave '
          'it at 0')


def spectra(config, built: build.Built):
  """Singular values [state, side block, k] of the tap of every edge.

  Args:
    config: of the search.
    built: of `warm_config(config)`.

  Returns:
    (the values, validation accuracy of the side network or None).
  """
  params, accuracy = scoring.trained(warm_config(config), built)
  states_of = extractor(
      built.backbone, range(2 * built.backbone.depth + 1))

  @jax.jit
  def of_batch(params, weights, images, labels):
    features = built.method.extract(weights, images)

    def loss(taps):
      logits = built.method.readout(params, features._replace(taps=taps))
      return built.loss(logits, labels).sum()

    return states_of(weights, images).taps, jax.grad(loss)(features.taps)

  found = []
  for batch in scoring.scored_batches(config, built):
    batch = sharding.put_batch(batch, built.mesh)
    found.append(jax.device_get(
        of_batch(params, built.weights, batch.inputs, batch.label)))
  states, gradients = (
      [np.concatenate([x.reshape(-1, x.shape[-1]) for x in parts])
       for parts in zip(*kind, strict=True)]
      for kind in zip(*found, strict=True))
  return placement.between(lambda block: states, gradients), accuracy
