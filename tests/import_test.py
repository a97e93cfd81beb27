"""`import lst` is light: no device is looked at, nothing heavy is imported."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import lst

ROOT = pathlib.Path(lst.__file__).parents[1]
HEAVY = (
    'orbax', 'grain', 'tensorflow', 'tensorflow_datasets', 'torch', 'sklearn',
    'tensorboardX', 'huggingface_hub', 'PIL', 'transformers')

SEEN = """
import json, sys
from jax._src import xla_bridge
print(json.dumps({
    'backends': list(xla_bridge._backends),
    'modules': sorted({m.partition('.')[0] for m in sys.modules})}))
"""


def after(code: str) -> dict:
  """Backends and top-level modules of a fresh process that ran `code`."""
  done = subprocess.run(
      [sys.executable, '-W', 'error', '-c', code + SEEN], cwd=ROOT,
      env={**os.environ, 'PYTHONPATH': str(ROOT)}, text=True,
      capture_output=True, check=False)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def test_import_touches_no_device_and_imports_nothing_heavy():
  seen = after('import lst')
  assert seen['backends'] == []
  assert not set(HEAVY) & set(seen['modules'])


def test_the_check_sees_devices_and_modules():
  seen = after('import lst, grain, jax; jax.devices()')
  assert seen['backends'] and 'grain' in seen['modules']


@pytest.mark.parametrize('name', lst.__all__)
def test_public_names_are_documented(name):
  """With a docstring of their own, not one that a class made of its fields."""
  doc = getattr(lst, name).__doc__
  assert doc and not doc.startswith(f'{name}(')


def test_public_names_are_sorted_and_there():
  assert lst.__all__ == sorted(lst.__all__)
  assert {'Features', 'LowRank', 'SideNetwork'} <= set(lst.__all__)
  for name in lst.__all__:
    assert hasattr(lst, name)
