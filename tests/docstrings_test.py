"""Public functions that take arrays say which shapes."""

import ast
import re

import pytest

from tests.layout_test import PACKAGE

# What arrays are called here where a type does not say that they are.
NAMES = {'images', 'image', 'logits', 'label', 'labels', 'mask', 'taps',
         'stored', 'tokens', 'rows'}
JAXTYPING = re.compile(
    r'\b(Float|Int|Int8|Int32|Int64|UInt8|Bool|Num|Shaped|Key|Inexact)\[')
ARRAY = re.compile(r'\b(Array|ndarray|Taps)\b')
# Scalars; and the arrays of a cache's layout, which are no arrays of numbers.
OTHERS = re.compile(r'\bfloat\b|Callable')
LAYOUT = ('lst/cache/layout.py', 'lst/cache/shards.py')
# Of any shape, or of one that another argument says.
ANY = {'product(x)', 'product(y)', 'kept(x)', 'unchanged(x)', 'dot(x)',
       'dot(y)'}
# (B, N, D), (b,), (rows, *shape), (H, W, 3).
SHAPE = re.compile(r'\((\*?\w+( \w+)?)(,|, [\w*. +]+)+\)')
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def array_arguments(node) -> list[str]:
  """Arguments that are arrays and whose annotation gives no shape."""
  out = []
  for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
    kind = ast.unparse(arg.annotation) if arg.annotation else ''
    if JAXTYPING.search(kind) or OTHERS.search(kind):
      continue
    if ARRAY.search(kind) or (not kind and arg.arg in NAMES):
      out.append(arg.arg)
  return out


def shapeless(source: str) -> list[str]:
  """Public functions with arrays, and no shape in type or docstring."""
  found = []

  def visit(body, prefix, around):
    for node in body:
      public = not getattr(node, 'name', '_').startswith('_') or (
          getattr(node, 'name', '') == '__call__')
      if isinstance(node, ast.ClassDef) and public:
        visit(node.body, f'{node.name}.', ast.get_docstring(node) or '')
      elif isinstance(node, FUNCTIONS) and public:
        told = SHAPE.search((ast.get_docstring(node) or '') + around)
        found.extend(
            f'{prefix}{node.name}({name})'
            for name in array_arguments(node) if not told)

  visit(ast.parse(source).body, '', '')
  return found


@pytest.mark.parametrize('path', PACKAGE)
def test_arrays_have_shapes(path):
  source = PACKAGE[path]
  if path in LAYOUT:
    source = source.replace('array: Array', 'array: tuple')
  assert not set(shapeless(source)) - ANY


@pytest.mark.parametrize('source, expected', [
    ('def f(x: np.ndarray): "Of x."', ['f(x)']),
    ('def f(label): "Of labels."', ['f(label)']),
    ('class A:\n  "A."\n  def f(self, x: Array): "Of x."', ['A.f(x)']),
    ('def f(x: np.ndarray): "Of x (B, D)."', []),
    ('def f(x: np.ndarray): "Of rows (b,)."', []),
    ('def f(x: Float[Array, "b d"]): "Of x."', []),
    ('def f(mask: list[str]): "Of names."', []),
    ('def f(eps: float | Array): "Of a number."', []),
    ('def _f(x: np.ndarray): pass', []),
])
def test_the_check_sees_what_has_none(source, expected):
  assert shapeless(source) == expected
