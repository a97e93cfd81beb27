"""The house: who may import whom, how long things are, what is written."""

import ast
import importlib
import importlib.util
import pathlib
import re

import pytest

from lst import config as config_lib

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = {p.relative_to(ROOT).as_posix(): p.read_text()
           for p in sorted((ROOT / 'lst').rglob('*.py'))}
# Without the empty file that makes the folder a package.
EXPERIMENTS = {p.relative_to(ROOT).as_posix(): p.read_text()
               for p in sorted((ROOT / 'experiments').rglob('*.py'))
               if p.stat().st_size}
CONFIGS = sorted((ROOT / 'configs').rglob('*.py'))

FILE_LINES, FUNCTION_LINES, RUN_LINES, CONFIG_LINES = 250, 40, 150, 40
# The loop, read from top to bottom.
RUN = ('lst/train.py', '_run')

# What each part may import of this package, itself apart.
ALLOWED = {
    'lst/features.py': (),
    'lst/product.py': (),
    'lst/turns.py': (),
    'lst/depthwise.py': (),
    'lst/digest.py': (),
    'lst/config.py': ('lst.options',),
    'lst/command.py': ('lst.config', 'lst.usage'),
    'lst/options/': (),
    'lst/losses.py': (),
    'lst/metrics.py': (),
    'lst/sharding.py': (),
    'lst/optimizer.py': (),
    'lst/staging.py': (),
    'lst/clusters.py': (),
    'lst/vigil.py': (),
    'lst/hosts.py': ('lst.clusters', 'lst.vigil'),
    'lst/data/': ('lst.staging',),
    'lst/side/': ('lst.features', 'lst.product', 'lst.depthwise'),
    'lst/backbones/': (
        'lst.features', 'lst.product', 'lst.staging', 'lst.turns',
        'lst.digest'),
    'lst/taps.py': (
        'lst.features', 'lst.turns', 'lst.backbones', 'lst.side.reading'),
    'lst/placement/': ('lst.features', 'lst.product', 'lst.backbones'),
    'lst/cache/__main__.py': (
        'lst.cache', 'lst.features', 'lst.command', 'lst.data',
        'lst.backbones', 'lst.method', 'lst.build', 'lst.sharding',
        'lst.tasks.parts'),
    'lst/cache/': ('lst.features', 'lst.data', 'lst.digest'),
    'lst/tuning/': ('lst.product', 'lst.depthwise', 'lst.backbones'),
    'lst/step.py': ('lst.metrics', 'lst.data'),
    'lst/contract.py': (
        'lst.side', 'lst.tuning', 'lst.placement', 'lst.features',
        'lst.product', 'lst.backbones', 'lst.taps'),
    'lst/method.py': (
        'lst.contract', 'lst.side', 'lst.tuning', 'lst.placement',
        'lst.backbones', 'lst.taps'),
}
# Unsafe, or not of this project.
FORBIDDEN = ('pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'clu',
             'decord', 'dmvr', 'aqt', 'torch', 'tensorflow')


def module_of(path: str) -> str:
  """'lst.side' of 'lst/side/__init__.py'."""
  return path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')


MODULES = {module_of(path): path for path in PACKAGE}


def imports(source: str) -> set[str]:
  """Every module that a file imports, wherever it does so."""
  found = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'imports are absolute'
      for alias in node.names:
        inner = f'{node.module}.{alias.name}'
        found.add(inner if inner in MODULES else node.module)
  return found


def strays(path: str, source: str) -> set[str]:
  """Modules of this package that the file has no right to import."""
  for part, allowed in ALLOWED.items():
    if path == part or (part.endswith('/') and path.startswith(part)):
      allowed = (*allowed, module_of(part.removesuffix('/')))
      break
  else:
    return set()
  return {
      name for name in imports(source)
      if name.partition('.')[0] == 'lst' and not any(
          name == a or name.startswith(f'{a}.') for a in allowed)}


@pytest.mark.parametrize('path', PACKAGE)
def test_imports_point_one_way(path):
  assert not strays(path, PACKAGE[path])


@pytest.mark.parametrize('path, source, expected', [
    ('lst/side/new.py', 'from lst.backbones import vit', 'lst.backbones.vit'),
    ('lst/side/new.py', 'import lst.config', 'lst.config'),
    ('lst/side/new.py', 'def f():\n  from lst import train', 'lst.train'),
    ('lst/backbones/new.py', 'from lst.side.linear import Linear',
     'lst.side.linear'),
    ('lst/step.py', 'from lst import report', 'lst.report'),
    ('lst/losses.py', 'from lst import LowRank', 'lst'),
    ('lst/cache/new.py', 'from lst.method import Method', 'lst.method'),
])
def test_the_check_sees_an_import(path, source, expected):
  assert strays(path, source) == {expected}


def cycle(graph: dict[str, set[str]]) -> list[str]:
  """Modules that import each other, or []."""
  left = dict(graph)
  while True:
    free = [m for m, uses in left.items() if not uses & left.keys()]
    if not free:
      return sorted(left)
    for module in free:
      del left[module]


def test_no_module_imports_its_way_back():
  # Packages only gather names; what matters is where the names are made.
  graph = {m: imports(PACKAGE[p]) - {m} for m, p in MODULES.items()}
  graph = {m: {u for u in uses if not MODULES.get(u, '__init__').endswith(
      '__init__.py')} for m, uses in graph.items()}
  assert not cycle(graph)
  assert cycle({'a': {'b'}, 'b': {'c'}, 'c': {'b'}}) == ['a', 'b', 'c']


def test_nothing_imports_the_entry_and_it_alone_the_loop():
  users = {target: {p for p, s in PACKAGE.items() if target in imports(s)}
           for target in ('lst.main', 'lst.train')}
  assert users == {'lst.main': set(), 'lst.train': {
      'lst/main.py', 'lst/vtab/process.py'}}


def faults(source: str) -> list[str]:
  """What no file may hold."""
  found = [f'import {name}' for name in imports(source)
           if name.partition('.')[0] in FORBIDDEN]
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.keyword) and node.arg == 'allow_pickle':
      if getattr(node.value, 'value', True) is not False:
        found.append('allow_pickle')
    elif isinstance(node, ast.Attribute) and node.attr in ('pmap', 'pjit'):
      found.append(node.attr)
    elif isinstance(node, ast.Call) and re.search(
        r'(^|[._])config(\.\w+)*\.get$', ast.unparse(node.func)):
      found.append('config.get')
  return found


@pytest.mark.parametrize('path', PACKAGE)
def test_nothing_forbidden(path):
  found = faults(PACKAGE[path])
  if path.startswith('lst/backbones/families/'):
    # What they call a config is a checkpoint's JSON, which leaves fields out.
    found = [fault for fault in found if fault != 'config.get']
  assert not found


@pytest.mark.parametrize('source', [
    'import pickle', 'from torch import nn', 'import tensorflow as tf',
    'np.load(f, allow_pickle=True)', 'np.load(f, allow_pickle=flag)',
    'jax.pmap(f)', 'config.get("lr")', 'self.config.optimizer.get("lr", 1)'])
def test_the_check_sees_what_is_forbidden(source):
  assert len(faults(source)) == 1


def functions(source: str) -> dict[str, ast.FunctionDef]:
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
  return {n.name: n for n in ast.walk(ast.parse(source))
          if isinstance(n, kinds)}


@pytest.mark.parametrize('path', [
    p for p in PACKAGE if p.startswith(('lst/side/', 'lst/step', 'lst/losses',
                                        'lst/metrics', 'lst/sharding'))
    and p != 'lst/side/build.py'])
def test_the_config_stops_at_build(path):
  for name, node in functions(PACKAGE[path]).items():
    args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    assert 'config' not in [a.arg for a in args], name


def too_long(path: str, source: str) -> list[str]:
  """The file, or functions in it, beyond their number of lines."""
  lines = len(source.splitlines())
  found = [f'{lines} lines'] if lines > FILE_LINES else []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
      lines = node.end_lineno - node.lineno + 1
      most = RUN_LINES if (path, node.name) == RUN else FUNCTION_LINES
      if lines > most:
        found.append(f'{node.name}: {lines} lines')
  return found


@pytest.mark.parametrize('path', [*PACKAGE, *EXPERIMENTS])
def test_files_and_functions_are_short(path):
  assert not too_long(path, {**PACKAGE, **EXPERIMENTS}[path])


def test_the_check_sees_length():
  body = 'def _run():\n' + '  pass\n' * 41
  assert too_long('lst/step.py', body) == ['_run: 42 lines']
  assert not too_long('lst/train.py', body)
  assert too_long('lst/step.py', 'x = 1\n' * 251) == ['251 lines']


def test_no_drawer_for_everything():
  names = {part.removesuffix('.py') for path in PACKAGE
           for part in path.split('/')}
  assert 'side' in names
  assert not names & {'utils', 'util', 'common', 'core', 'base', 'helpers'}


def undocumented(source: str) -> list[str]:
  """Public names of a file that have no docstring."""
  tree = ast.parse(source)
  found = [] if ast.get_docstring(tree) else ['the file']
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

  def visit(body, prefix=''):
    for node in body:
      if not isinstance(node, kinds):
        continue
      special = node.name.startswith('__') and node.name != '__call__'
      if (node.name.startswith('_') and node.name != '__call__') or special:
        continue
      if not ast.get_docstring(node):
        found.append(prefix + node.name)
      if isinstance(node, ast.ClassDef):
        visit(node.body, f'{node.name}.')

  visit(tree.body)
  return found


@pytest.mark.parametrize('path', [*PACKAGE, *EXPERIMENTS])
def test_public_names_are_documented(path):
  assert not undocumented({**PACKAGE, **EXPERIMENTS}[path])


def test_the_check_sees_what_is_undocumented():
  source = 'class A:\n  def b(self): ...\n  def _c(self): ...\ndef d(): ...\n'
  assert undocumented(source) == ['the file', 'A', 'A.b', 'd']


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_configs_are_short_locked_and_of_the_schema(path):
  text = path.read_text()
  assert len(text.splitlines()) <= CONFIG_LINES
  name = path.relative_to(ROOT).as_posix()
  assert f'python -m lst.main --config={name}' in ast.get_docstring(
      ast.parse(text))
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config, default = module.get_config(), config_lib.default()
  assert config.is_locked and config.optimizer.is_locked
  # Tasks come on top of what the default has.
  config_lib.check(config)
  ours, theirs = config_lib.flat(config), config_lib.flat(default)
  assert {k: type(v) for k, v in ours.items() if k in theirs} == {
      k: type(v) for k, v in theirs.items()}
  with pytest.raises(AttributeError):
    config.optimizer.learning_rate = 1.0


@pytest.mark.parametrize('path', EXPERIMENTS)
def test_experiments_import(path):
  importlib.import_module(module_of(path))


def test_experiments_are_found_and_explained():
  assert EXPERIMENTS and CONFIGS
  for path in EXPERIMENTS:
    assert (ROOT / path).parent.joinpath('README.md').exists(), path
