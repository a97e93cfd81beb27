"""The digest of a program: all that it computes, and on no machine another."""

import jax
import jax.numpy as jnp
import pytest

from lst.cache import traces

X = jax.ShapeDtypeStruct((4,), jnp.float32)


def of(cpu=jnp.sin, cuda=jnp.tan, default=jnp.cos, twice=False):
  """Each platform computes something; `twice` in a program inside a loop."""
  def one(x):
    return jax.lax.platform_dependent(x, cpu=cpu, cuda=cuda, default=default)

  if twice:
    inner = jax.jit(lambda x: one(x) + one(x))
    return lambda x: jax.lax.fori_loop(0, 3, lambda _, x: inner(x), x)
  return one


@pytest.mark.parametrize('twice', [False, True])
def test_what_gpus_run_does_not_count(twice):
  digest = traces.digest_of(of(twice=twice), X)
  assert traces.digest_of(of(cuda=jnp.exp, twice=twice), X) == digest
  for other in ({'cpu': jnp.exp}, {'default': jnp.exp}):
    assert traces.digest_of(of(**other, twice=twice), X) != digest
  assert traces.digest_of(of(twice=not twice), X) != digest


def test_of_many_programs_each_counts():
  """Those that are made on the way are not taken for one another."""
  def chain(last):
    def run(x):
      for k in (1.0, 2.0, 3.0, 4.0, 5.0, last):
        x = of(*[lambda y, a=a, k=k: a * y + k for a in (2, 3, 4)])(x)
      return x
    return run

  assert traces.digest_of(chain(6.0), X) != traces.digest_of(chain(7.0), X)


def closing(constant, inside):
  """Adds an array that it closes over, in a program of its own or not."""
  add = lambda x: x + constant  # noqa: E731
  return jax.jit(add) if inside else add


@pytest.mark.parametrize('inside', [False, True])
def test_constants_count(inside):
  digests = [
      traces.digest_of(closing(jnp.arange(4.0) + n, inside), X)
      for n in (0, 1, 1)]
  assert digests[0] != digests[1] == digests[2]
