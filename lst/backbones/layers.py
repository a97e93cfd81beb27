"""The layers of a vision transformer, exact in f32 and fast in bf16."""

import functools
from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lst.backbones import quantised
from lst.product import product


def _gelu(x):
  """Exact GELU; by erf, a third of what `jax.nn.gelu` by erfc takes on CPUs."""
  return 0.5 * x * (1.0 + jax.lax.erf(x * 0.5 ** 0.5))


ACTIVATIONS: dict[str, Callable] = {
    'gelu': _gelu,
    'gelu_tanh': functools.partial(jax.nn.gelu, approximate=True),
    'quick_gelu': lambda x: x * jax.nn.sigmoid(1.702 * x),
    'silu': jax.nn.silu,
}


def layer_norm(
    x: Float[Array, '... d'],
    scale: Float[Array, ' d'],
    bias: Float[Array, ' d'],
    eps: float | Array,
) -> Float[Array, '... d']:
  """Layer norm in f32, returned in f32."""
  x = x.astype(jnp.float32)
  x = x - x.mean(-1, keepdims=True)
  x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + eps)
  return x * scale + bias


class Module(nn.Module):
  """A Flax module that looks up the weights it is given.

  To compare shapes, Flax traces how a weight would be made anew at every call,
  which takes longer than all else that is traced of a block.
  """

  @nn.nowrap
  def param(self, name: str, init: Callable, shape: tuple[int, ...]) -> Any:
    """The weight `name`, which `init(key, shape)` makes where there is none.

    Raises:
      ScopeParamShapeError: it has another shape.
    """
    if not self.has_variable('params', name):
      return super().param(name, init, shape)
    weight = self.get_variable('params', name)
    found = jnp.shape(jax.tree.leaves(weight)[0])
    if found != tuple(shape):
      raise flax.errors.ScopeParamShapeError(
          name, self.scope.path_text, found, shape)
    return weight


class LayerNorm(Module):
  """Layer norm over the channels, computed in f32, returned as it came in."""

  eps: float = 1e-6

  @nn.compact
  def __call__(self, x: Float[Array, '... d']) -> Float[Array, '... d']:
    """Normalises each (..., D) vector."""
    scale = self.param('scale', nn.initializers.ones, (x.shape[-1],))
    bias = self.param('bias', nn.initializers.zeros, (x.shape[-1],))
    return layer_norm(x, scale, bias, self.eps).astype(x.dtype)


class Dense(Module):
  """`x @ kernel + bias`: operands in `x.dtype`, sum and result in f32.

  Weights may hold more than the layer itself makes: factors `down` (D, R) and
  `up` (R, F), whose product is added to the kernel without being formed; and a
  `gain` and a `shift` (F,) of the result.
  """

  features: int
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: Float[Array, 'b n d']) -> Float[Array, 'b n f']:
    """(B, N, D) to (B, N, features) in f32."""
    shape = (x.shape[-1], self.features)
    kernel = self.param('kernel', nn.initializers.xavier_uniform(), shape)
    y = quantised.times(x, kernel)
    if self.has_variable('params', 'down'):
      down, up = (self.get_variable('params', k) for k in ('down', 'up'))
      h = product('bnd,dr->bnr', x, down.astype(x.dtype)).astype(x.dtype)
      y += product('bnr,rf->bnf', h, up.astype(x.dtype))
    if self.use_bias:
      y += self.param('bias', nn.initializers.zeros, (self.features,))
    if self.has_variable('params', 'gain'):
      gain, shift = (self.get_variable('params', k) for k in ('gain', 'shift'))
      y = y * gain + shift
    return y


class LayerScale(Module):
  """A learned gain per channel on a residual branch (CaiT, DINOv2)."""

  @nn.compact
  def __call__(self, x: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
    """(B, N, D) times a gain per channel."""
    return x * self.param('scale', nn.initializers.ones, (x.shape[-1],))


def _attend_plainly(q, k, v):
  """Scores and softmax in f32; the fastest exact form on a CPU."""
  scores = product('bhnd,bhmd->bhnm', q * q.shape[-1] ** -0.5, k)
  weights = jax.nn.softmax(scores).astype(v.dtype)
  return product('bhnm,bhmd->bhnd', weights, v).astype(v.dtype)


def _attend_flash(q, k, v, *, implementation=None):
  q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
  y = jax.nn.dot_product_attention(q, k, v, implementation=implementation)
  return jnp.swapaxes(y, 1, 2)


# In a program it is what it would be without `jit`; but its three forms are
# traced once, and not in every block of every program.
@functools.partial(jax.jit, inline=True)
def attend(
    q: Float[Array, 'b h n d'],
    k: Float[Array, 'b h n d'],
    v: Float[Array, 'b h n d'],
) -> Float[Array, 'b h n d']:
  """Softmax attention, in the fastest exact form of the device it runs on.

  cuDNN's flash kernel takes half precision and heads of up to 128 channels
  in eights; elsewhere XLA's own form of `jax.nn.dot_product_attention`.
  """
  half = q.dtype in (jnp.bfloat16, jnp.float16)
  fits = half and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128
  # Every branch is traced, and cuDNN's asks for its library while tracing.
  fits = fits and jax.default_backend() == 'gpu'
  on_cuda = functools.partial(
      _attend_flash, implementation='cudnn' if fits else None)
  return jax.lax.platform_dependent(
      q, k, v, cpu=_attend_plainly, cuda=on_cuda, default=_attend_flash)


class Attention(Module):
  """Multi-head self-attention; `rotate` turns queries and keys (RoPE)."""

  heads: int
  qkv_bias: bool = True

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b n d'],
      rotate: Callable[[Array], Array] | None = None,
  ) -> Float[Array, 'b n d']:
    """Every token attends to all; (B, N, D) to (B, N, D) in f32."""
    b, n, width = x.shape
    qkv = Dense(3 * width, use_bias=self.qkv_bias, name='qkv')(x)
    # Head-major: on CPUs a quarter faster than heads beside the channels. Each
    # is split off before it is turned, by `split`, whose gradient is written
    # once; that of an index is three arrays padded with zeros and added.
    q, k, v = (
        part.reshape(b, n, self.heads, -1).transpose(0, 2, 1, 3)
        for part in jnp.split(qkv.astype(x.dtype), 3, axis=-1))
    if rotate is not None:
      q, k = rotate(q), rotate(k)
    y = attend(q, k, v).transpose(0, 2, 1, 3).reshape(b, n, width)
    return Dense(width, name='out')(y)


class Mlp(Module):
  """Two dense layers; `gated` multiplies an activated half into the other."""

  hidden: int
  activation: str = 'gelu'
  gated: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
    """Each token by itself; (B, N, D) to (B, N, D) in f32."""
    act = ACTIVATIONS[self.activation]
    h = Dense(self.hidden * (1 + self.gated), name='up')(x)
    if self.gated:
      gate, h = jnp.split(h, 2, axis=-1)
      h = act(gate) * h
    else:
      h = act(h)
    return Dense(x.shape[-1], name='down')(h.astype(x.dtype))
