"""Devices that these tests run on."""

import pytest

from tests.conftest import devices


@pytest.fixture
def one_device():
  """Quicker to compile for than all of them."""
  with devices(1):
    yield
