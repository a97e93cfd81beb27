"""Visual prompt tuning: learned tokens ahead of the patches of every block."""

import jax
import jax.numpy as jnp

from lst.backbones.backbone import Backbone
from lst.tuning.tuning import Tuning


def vpt(backbone: Backbone, tokens: int = 10) -> Tuning:
  """VPT-deep (Jia et al., ECCV 2022).

  Block l sees the prefix, `tokens` prompts of its own and the patches (of a
  clip taken whole, the prompts and then all of its tokens); what comes out at
  the places of the prompts is dropped. Prompts start random, in the range of a
  Xavier uniform embedding of patches, as the authors' do: so the backbone
  starts a little changed.

  Args:
    backbone: that is tuned.
    tokens: prompts of each block.
  """
  if tokens < 1:
    raise ValueError(f'config.tuning.vpt.tokens={tokens} has to be at least 1')
  first, last = backbone.prefix, 2 * backbone.depth

  def init(key, frozen):
    inputs, width = frozen['embed']['patches']['kernel'].shape
    bound = (6 / (inputs + width)) ** 0.5
    shape = (backbone.depth, tokens, width)
    return {'prompts': jax.random.uniform(key, shape, minval=-bound,
                                          maxval=bound)}

  def at(params, weights):
    del weights

    def hook(k, x):
      if k % 2:
        return x
      ahead, behind = x[:, :first], x[:, first + (tokens if k else 0):]
      if k == last:
        return jnp.concatenate([ahead, behind], 1)
      own = params['prompts'][k // 2].astype(x.dtype)
      own = jnp.broadcast_to(own, (len(x), *own.shape))
      return jnp.concatenate([ahead, own, behind], 1)

    return hook

  return Tuning(init, at=at)
