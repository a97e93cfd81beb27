"""Devices that these tests run on."""

import contextlib

import jax
import pytest

from lst import sharding


@pytest.fixture(scope='module', autouse=True)
def quickly(quick):
  """All of these tests."""


@pytest.fixture
def one_device():
  """Quicker to compile for than all of them."""
  with devices(1):
    yield


@contextlib.contextmanager
def devices(count: int):
  """Runs on so many devices."""
  make_mesh = sharding.make_mesh
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, 'make_mesh', lambda *_: make_mesh(
        devices=jax.devices()[:count]))
    yield
