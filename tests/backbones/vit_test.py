"""The vision transformer: its hook, its precision, its inputs."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lst.backbones import block, layers
from lst.backbones.families import own
from lst.backbones.presets import EXTRAS, SIZES, preset
from lst.backbones.vit import ViT

TINY = ViT(patch=4, width=24, depth=2, heads=3, hidden=40, grid=(4, 4))
VARIANTS = {
    'plain': TINY,
    'no_prefix': TINY.clone(prefix=0),
    'registers': TINY.clone(prefix=3),
    'rotary': TINY.clone(position='rotary', prefix=2),
    'gated': TINY.clone(activation='silu', gated=True, layer_scale=True),
    'clip': TINY.clone(pre_norm=True, activation='quick_gelu'),
    'no_qkv_bias': TINY.clone(qkv_bias=False),
}


def random_params(vit, seed=0):
  """Parameters with nothing at zero or one."""
  image = jnp.zeros((1, 4, 4, 3))
  shapes = jax.eval_shape(vit.init, jax.random.key(0), image)['params']
  rng = np.random.default_rng(seed)
  def draw(x):
    scale = x.shape[0] ** -0.5 if len(x.shape) > 1 else 0.3
    return jnp.asarray(rng.normal(size=x.shape) * scale + (
        len(x.shape) == 1), jnp.float32)
  return jax.tree.map(draw, shapes)


def images(height=16, width=16, batch=2):
  rng = np.random.default_rng(1)
  return jnp.asarray(rng.normal(size=(batch, height, width, 3)), jnp.float32)


def run(vit, params, x, at):
  return jax.jit(lambda p, x: vit.apply({'params': p}, x, at))(params, x)


def states(vit, params, x):
  """State k of every k, of one pass."""
  @jax.jit
  def states(params, x):
    seen = {}
    vit.apply({'params': params}, x, lambda k, x: seen.update({k: x}) or x)
    return seen

  return states(params, x)


@pytest.mark.parametrize('name', VARIANTS)
def test_the_hook_sees_every_state_once_and_in_order(name):
  vit = VARIANTS[name]
  seen = []
  def at(k, x):
    seen.append((k, x.shape))
    return x
  params = random_params(vit)
  out = jax.eval_shape(lambda p: run(vit, p, images(8, 20), at), params)
  tokens = 2 * 5 + vit.prefix
  assert seen == [(k, (2, tokens, 24)) for k in range(2 * vit.depth + 1)]
  assert out.shape == (2, tokens, 24)


@jax.jit
def changed_states(params, changes):
  seen = []
  def at(i, x):
    seen.append(x)
    return x + changes[i]
  out = TINY.apply({'params': params}, images(), at)
  return [*seen, out]


@pytest.mark.parametrize('k', range(5))
def test_a_changed_state_changes_what_follows_and_nothing_before(k):
  params, none = random_params(TINY), jnp.zeros(5)
  plain, changed = (
      changed_states(params, x) for x in (none, none.at[k].set(0.1)))
  # at() records a state before it changes it, so state k itself is equal.
  for i in range(k + 1):
    np.testing.assert_array_equal(plain[i], changed[i])
  for i in range(k + 1, 6):
    assert np.abs(plain[i] - changed[i]).max() > 1e-3


@pytest.mark.parametrize('name', ['plain', 'rotary'])
def test_blocks_alike_are_traced_once(name, monkeypatch):
  traced = []
  plain = layers.Attention.__call__

  def counted(self, x, rotate=None):
    traced.append(x.shape)
    return plain(self, x, rotate)

  monkeypatch.setattr(layers.Attention, '__call__', counted)
  vit = VARIANTS[name].clone(depth=3, eps=1.5e-6)
  params, x = random_params(vit), images(batch=3)
  traced.clear()
  def text():
    return jax.jit(lambda p, x: vit.apply({'params': p}, x)).lower(
        params, x).as_text()

  first, again = text(), text()
  assert len(traced) == 1
  # And the program is what it is without that.
  monkeypatch.setattr(block, '_traced', block._traced.__wrapped__)
  assert text() == first == again and len(traced) == 4


@pytest.mark.parametrize('name', VARIANTS)
def test_shapes_are_those_of_what_is_made(name):
  for depth in range(3):
    vit = VARIANTS[name].clone(depth=depth)
    made = flax.traverse_util.flatten_dict(random_params(vit), sep='/')
    assert own.shapes_of(vit) == {k: x.shape for k, x in made.items()}


def test_a_state_can_be_cut_short():
  """The hook may drop tokens; what follows goes on with fewer."""
  params = random_params(TINY)
  out = run(TINY, params, images(), lambda k, x: x[:, :5] if k == 2 else x)
  assert out.shape == (2, 5, 24)


@pytest.mark.parametrize('name', ['rotary', 'gated', 'clip'])
def test_bfloat16_is_close_to_float32(name):
  vit = VARIANTS[name]
  params = random_params(vit)
  exact = run(vit, params, images(), lambda k, x: x)
  seen = []
  half = run(vit.clone(dtype=jnp.bfloat16), params, images(),
             lambda k, x: seen.append(x.dtype) or x)
  assert exact.dtype == jnp.float32 and half.dtype == jnp.bfloat16
  assert set(seen) == {jnp.dtype('bfloat16')}
  assert np.abs(exact - half).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize('height, width', [(16, 18), (17, 16), (3, 4)])
def test_an_image_that_does_not_divide_into_patches(height, width):
  with pytest.raises(ValueError, match='does not divide into patches of 4 x 4'):
    TINY.init(jax.random.key(0), images(height, width))


def test_patches_are_taken_in_rows_of_the_image():
  """A change in one patch reaches its own embedding and no other's."""
  params = random_params(TINY)
  first = {}
  def at(name):
    return lambda k, x: first.setdefault(name, x) if k == 0 else x
  x = images(8, 20, batch=1)
  embed = TINY.clone(depth=0)
  embed.apply({'params': params}, x, at('before'))
  moved = x.at[0, 4:, 8:12].add(1.0)
  embed.apply({'params': params}, moved, at('after'))
  moved = np.abs(first['before'] - first['after']).max(-1)[0]
  assert list(np.flatnonzero(moved > 1e-6)) == [1 + 5 + 2]


@pytest.mark.parametrize('name', [
    name for name in SIZES if 'tubelet' not in EXTRAS.get(name, {})])
def test_presets_are_of_the_published_size(name):
  # Without heads, which ViT-e's 3.9 billion count.
  millions = {'Ti': 5.5, 'S': 21.7, 'B': 85.8, 'L': 303.3, 'so400m': 412.6,
              'H': 630.8, 'g': 1011, 'G': 1843, 'e': 3805, 'dinov3_7b': 6716,
              'internvit_6b': 5904, 'eva_clip_18b': 17620}
  vit = preset(f'{name}/{14 if name in ("so400m", "H", "g", "G", "e") else 16}')
  one = vit.clone(depth=1)
  def count(vit):
    x = jnp.zeros((1, vit.patch, vit.patch, 3))
    tree = jax.eval_shape(vit.init, jax.random.key(0), x)
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
  block = count(one) - count(vit.clone(depth=0))
  total = count(one) + (vit.depth - 1) * block
  assert total / 1e6 == pytest.approx(millions[name], rel=0.01)


def test_presets_take_fields_and_refuse_other_names():
  vit = preset('S/16', image_size=(32, 64), prefix=5, dtype=jnp.bfloat16)
  assert (vit.grid, vit.prefix, vit.dtype) == ((2, 4), 5, jnp.bfloat16)
  assert preset('dinov3_7b/16').gated
  for name in ('B', 'X/16', 'B/x', '/16'):
    with pytest.raises(ValueError, match='write SIZE/PATCH'):
      preset(name)
  with pytest.raises(ValueError, match='does not divide'):
    preset('B/16', image_size=100)
