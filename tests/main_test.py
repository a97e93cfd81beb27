"""The entry point: whatever is wrong is said in one message, without a trace.
"""

import concurrent.futures
import pathlib
import time
import types

import jax
import pytest

from lst import hosts, train, usage
from tests import runs

DIGITS = '--config=configs/digits.py'
FILE = 'from lst.config import default\ndef get_config():\n  c = default()\n'

# Name -> (arguments, exit status, what the message has to say).
CASES = {
    'unknown field': (
        [DIGITS, '--config.optimizer.lerning_rate=1'], 2,
        'no field config.optimizer.lerning_rate; did you mean config.optimize'),
    'near field': (
        [DIGITS, '--config.train.bach_size=8'], 2,
        'did you mean config.train.batch_size?'),
    'mistyped': (
        [DIGITS, '--config.optimizer.lr=abc'], 2,
        "--config.optimizer.lr=abc: could not convert string to float: 'abc'"),
    'mistyped int': ([DIGITS, '--config.side.rank=1.5'], 2, 'side.rank=1.5'),
    'unknown flag': ([DIGITS, '--wrokdir=x'], 2, 'Did you mean: workdir'),
    'no flag': ([DIGITS, 'digits'], 2, 'not a flag: digits'),
    'no config': ([], 2, 'Give --config=FILE, such as configs/digits.py'),
    'config missing': (
        ['--config=configs/digit.py'], 2,
        'no config file configs/digit.py; did you mean configs/digits.py?'),
    'config sets unknown': (
        ['--config={}/unknown.py'], 2,
        'unknown.py, line 4: there is no field config.optimizer.learning_rate'),
    'config mistypes': (
        ['--config={}/mistyped.py'], 2, 'mistyped.py, line 4: TypeError: '),
    'config does not parse': (
        ['--config={}/syntax.py'], 2, 'syntax.py, line 4: '),
    'config returns nothing': (['--config={}/nothing.py'], 2, 'nothing.py'),
    'side': (
        [DIGITS, '--config.side.name=lsa', '--workdir={}/w/#'], 1,
        "config.side.name='lsa' is no side network: choose one of losa, lst"),
    'pool': (
        [DIGITS, '--config.side.pool=max', '--workdir={}/w/#'], 1,
        "config.side.pool='max' is none of auto, cls, mean, patches"),
    'dtype': (
        [DIGITS, '--config.backbone.dtype=f16', '--workdir={}/w/#'], 1,
        "config.backbone.dtype='f16' is none of bfloat16, float32"),
    'method': (
        [DIGITS, '--config.method=sde', '--workdir={}/w/#'], 1,
        "config.method='sde' is no method: choose one of side"),
    'data path': (
        [DIGITS, '--config.data.name=folder', '--config.data.path={}/none',
         '--workdir={}/w/#'], 1, '/none'),
    'weights missing': (
        [DIGITS, '--config.backbone.weights=embeded', '--workdir={}/w/#'], 1,
        'did you mean embedded'),
    'weights damaged': (
        [DIGITS, '--config.backbone.weights={}/cut.safetensors',
         '--workdir={}/w/#'], 1, 'cut.safetensors'),
    'workdir is a file': (
        [DIGITS, '--workdir={}/cut.safetensors'], 1, 'cut.safetensors'),
}


@pytest.fixture(scope='module')
def ended(tmp_path_factory, weights):
  """{case: (status, output, errors)}, two processes at a time."""
  folder = tmp_path_factory.mktemp('main')
  (folder / 'unknown.py').write_text(
      f'{FILE}  c.optimizer.learning_rate = 1.0\n  return c\n')
  (folder / 'mistyped.py').write_text(
      f"{FILE}  c.optimizer.lr = 'high'\n  return c\n")
  (folder / 'syntax.py').write_text(f'{FILE}  c.optimizer.lr = = 1.0\n')
  (folder / 'nothing.py').write_text(FILE)
  content = pathlib.Path(weights).read_bytes()
  (folder / 'cut.safetensors').write_bytes(content[:len(content) // 2])

  def run(case):
    arguments = [
        a.replace('{}', str(folder)).replace('#', case) for a in CASES[case][0]]
    return runs.finish(runs.start(*arguments))

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    return dict(zip(CASES, pool.map(run, CASES), strict=True))


@pytest.mark.parametrize('case', CASES)
def test_what_is_wrong_is_said_without_a_trace(ended, case):
  status, out, err = ended[case]
  _, want, words = CASES[case]
  assert status == want, err
  assert words in err
  assert 'Traceback' not in out + err and '  File "' not in out + err
  assert not out


def test_headline_config_without_network_or_data_says_what_to_do(tmp_path):
  began = time.monotonic()
  status, _, err = runs.finish(runs.start_python(
      '--config=configs/vtab_cifar.py', f'--workdir={tmp_path / "w"}',
      f'--config.data.path={tmp_path}'))
  assert time.monotonic() - began < 30
  assert status == 1 and 'Traceback' not in err
  for words in ('cifar100', '--config.data.name=vtab', 'configs/digits.py',
                str(tmp_path)):
    assert words in err


def test_workdir_is_named_after_the_config(tmp_path, weights):
  config = tmp_path / 'some_name.py'
  config.write_text(
      'from tests import runs\ndef get_config():\n'
      f'  return runs.config({weights!r}, val="", epochs=0.2)\n')
  process = runs.start_python(f'--config={config}', cwd=tmp_path)
  status, out, err = runs.finish(process)
  assert status == 0, err
  assert (tmp_path / 'runs' / 'some_name' / 'result.json').exists()
  # No terminal: no control codes, no bar.
  assert '\x1b' not in out and '\r' not in out and '━' not in out
  assert 'step 1/1  epoch 0.3  train loss' in out
  for words in ('backbone', 'trainable', 'FLOPs', 'device', 'test accuracy'):
    assert words in out
  assert not err


def raising(error):
  def call(*_):
    raise error

  return call


def test_told_to_leave_it_ends_with_75_if_another_dies_on_the_way_out(
    tmp_path, weights, monkeypatch, capsys):
  from lst import main
  for name, value in (
      ('CONFIG', runs.config(weights)), ('WORKDIR', str(tmp_path)),
      ('COORDINATOR', ''), ('PROCESS', -1), ('PROCESSES', '')):
    monkeypatch.setattr(main, f'_{name}', types.SimpleNamespace(value=value))
  monkeypatch.setattr(train, 'run', raising(
      hosts.Preempted('SIGTERM at step 7, which is saved')))
  monkeypatch.setattr(hosts, 'part', raising(
      jax.errors.JaxRuntimeError('ABORTED: Shutdown barrier has failed')))
  assert main._run() == hosts.RESTART
  assert capsys.readouterr().err == (
      'Preempted: SIGTERM at step 7, which is saved\n')


@pytest.mark.parametrize(('argv', 'want'), [
    (['x', '--config=a.py'], 'a.py'), (['x', '-config', 'b.py'], 'b.py'),
    (['x', '--config'], None), (['x', '--config.seed=1'], None)])
def test_config_file_is_found_in_the_flags(argv, want):
  assert usage.config_file(argv) == want
