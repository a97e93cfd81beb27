"""Preparing a TFDS dataset, or saying within seconds why it cannot be."""

import importlib.util
import socket
import threading
import urllib.parse
import urllib.request

from lst.data.examples import DataError
from lst.data.splits import nearest

HOST = ('storage.googleapis.com', 443)
# Name resolution takes no time-out of its own, so the whole attempt has one.
CONNECT_SECONDS = 3.0
ATTEMPT_SECONDS = 4.0

WAYS = """Do one of these:
  - with a network, pip install 'lst[prepare]' and start again: it is then
    downloaded and prepared by itself;
  - prepare it elsewhere with tfds.builder({task!r}, file_format=
    'array_record').download_and_prepare() and copy that folder to
    {root}/{folder}/<version>, or set --config.data.path or TFDS_DATA_DIR to
    the folder of your prepared datasets;
  - use a ready VTAB folder (images/, train800.txt, val200.txt,
    train800val200.txt, test.txt): --config.data.name=vtab
    --config.data.path=FOLDER and its split names, as in
    --config.data.train=train800 --config.data.val=val200
    --config.data.test=test;
  - start with images that need no download: --config=configs/digits.py."""


def has_tensorflow() -> bool:
  """Whether TensorFlow is installed, without importing it."""
  return importlib.util.find_spec('tensorflow') is not None


def address() -> tuple[str, int]:
  """What to connect to on the way to TFDS: the proxy, if one is set."""
  proxy = urllib.request.getproxies().get('https', '')
  parts = urllib.parse.urlsplit(proxy if '//' in proxy else f'//{proxy}')
  return (parts.hostname, parts.port or 80) if parts.hostname else HOST


def has_network() -> bool:
  """Whether the host that TFDS downloads from answers; 4 seconds at most."""
  reached = threading.Event()

  def attempt():
    try:
      socket.create_connection(address(), CONNECT_SECONDS).close()
      reached.set()
    except OSError:
      pass

  thread = threading.Thread(target=attempt, daemon=True)
  thread.start()
  thread.join(ATTEMPT_SECONDS)
  return reached.is_set()


def prepare(task, root: str) -> str:
  """Downloads a dataset and writes it as array_record files.

  Args:
    task: the parts (name, config, version) of a TFDS name.
    root: the folder of prepared datasets.

  Returns:
    The folder of the prepared dataset.

  Raises:
    DataError: no such dataset, no network, no TensorFlow, or TFDS failed.
  """
  _check_name(task.name)
  name = '/'.join(part for part in task[:2] if part)
  name += f':{task.version}' if task.version else ''
  ways = WAYS.format(task=name, root=root, folder='/'.join(task[:2]).strip('/'))
  missing = []
  if not has_tensorflow():
    missing.append('TensorFlow, which prepares it, is not installed')
  if not has_network():
    missing.append('{}:{} does not answer'.format(*address()))
  if missing:
    raise DataError(
      f'The TFDS dataset {name!r} is not prepared in {root}, and cannot be '
      f'prepared here: {"; ".join(missing)}. {ways}'
    )
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder(name, data_dir=root, file_format='array_record')
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
  except Exception as error:
    raise DataError(
      f'TFDS could not prepare {name!r} in {root}: {error!r}. {ways}'
    ) from error
  return str(builder.data_path)


def _check_name(name: str) -> None:
  import tensorflow_datasets as tfds

  known = tfds.list_builders(with_community_datasets=False)
  if name not in known:
    raise DataError(
      f'TFDS has no dataset {name!r}.{nearest(name, known)} Its catalogue of '
      f'{len(known)} is at https://www.tensorflow.org/datasets/catalog; a '
      'dataset of your own is read once it is prepared.'
    )
