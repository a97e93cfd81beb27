"""Split strings: names with slices and sums, as TFDS writes them."""

import bisect
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lst.data.examples import DataError, Example, Examples, Split

# What stands before a slice, a sum or the end.
_NAME = re.compile(r'(?<![^+\s])[^\s+\[\]]+(?=\s*(?:\[|\+|$))')


class _Size(NamedTuple):
  """What TFDS asks of a split to make a slice of it absolute."""

  num_examples: int


class Slices:
  """Slices of several sources, one after the other.

  Attributes:
    slices: (source, start, stop) of each.
  """

  def __init__(self, slices: list[tuple[Examples, int, int]]):
    self.slices = slices
    self._ends = []
    for _, start, stop in slices:
      self._ends.append((self._ends[-1] if self._ends else 0) + stop - start)

  def __len__(self) -> int:
    return self._ends[-1]

  def __getitem__(self, index: int) -> Example:
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is outside 0 to {len(self) - 1}')
    part = bisect.bisect_right(self._ends, index)
    source, _, stop = self.slices[part]
    return source[stop - self._ends[part] + index]


def shared(one: Split, other: Split) -> int:
  """How many examples of the same source are in both splits.

  Files are the same by their path, whatever list they are taken from.

  >>> source = list(range(100))
  >>> a, b = (select(text, {'all': source}, 'x')
  ...         for text in ('all[:60]', 'all[50:]'))
  >>> shared(a, b)
  10
  """
  return sum(
      max(0, min(stop, last) - max(start, begin))
      for source, start, stop in one.source.slices
      for of, begin, last in other.source.slices if of is source
  ) or len(_files(one) & _files(other))


def labels_of(split: Split) -> set[int]:
  """The classes of a split; empty where a source has no list of them."""
  return {
      int(label) for source, start, stop in split.source.slices
      for label in getattr(source, 'labels', ())[start:stop]}


def _files(split: Split) -> set[str]:
  return {
      path for source, start, stop in split.source.slices
      for path in getattr(source, 'paths', ())[start:stop]}


def nearest(word: str, words: Iterable[str]) -> str:
  """Says which of `words` comes closest to `word`, or nothing.

  >>> nearest('tran', ['train', 'test'])
  " Did you mean 'train'?"
  >>> nearest('x', ['train', 'test'])
  ''
  """
  close = difflib.get_close_matches(word, list(words), n=1)
  return f' Did you mean {close[0]!r}?' if close else ''


def select(text: str, sources: Mapping[str, Examples], where: str) -> Split:
  """Reads a split string against the named splits of a source.

  Args:
    text: names, slices and sums: 'train', 'train[:800]', 'train[80%:]',
      'train[:800]+val'.
    sources: the examples of each name.
    where: what the sources belong to, for the error.

  Returns:
    The examples in the order of the string.

  Raises:
    DataError: the string cannot be read, names no split, reaches past its end
      or selects nothing.
  """
  slices = [
    (sources[name], start, stop)
    for name, start, stop in _absolute(text, sources, where)
  ]
  if any(start >= stop for _, start, stop in slices):
    raise DataError(
      f'The split {text!r} of {where} selects no example in one of its parts.'
      f' There are: {_sizes(sources)}.'
    )
  return Split(text, Slices(slices))


def _absolute(text, sources, where):
  """The string as (name, start, stop), through the parser of TFDS."""
  for name in _NAME.findall(text):
    if name not in sources and name != 'all':
      raise DataError(
        f'{where} has no split {name!r} (asked for as {text!r}). There are: '
        f'{_sizes(sources)}.{nearest(name, sources)}'
      )
  # To TFDS 'all' means every split, and cannot be sliced: let a split that is
  # called so go by another name.
  alias = {name: 'all_' if name == 'all' else name for name in sources}
  names = {alias[name]: name for name in sources}
  renamed = _NAME.sub(lambda match: alias.get(match[0], match[0]), text)
  sizes = {alias[name]: _Size(len(sources[name])) for name in sources}
  # Imported here: it takes a third of a second.
  from tensorflow_datasets.core.splits import ReadInstruction

  try:
    parts = ReadInstruction.from_spec(renamed).to_absolute(sizes)
  except Exception as error:
    raise DataError(
      f'The split {text!r} of {where} cannot be read: {error} Write names '
      "with slices and sums, such as 'train[:800]', 'train[80%:]' or "
      f"'train+val'. There are: {_sizes(sources)}."
    ) from error
  return [
    (
      names[part.splitname],
      part.from_ or 0,
      sizes[part.splitname].num_examples if part.to is None else part.to,
    )
    for part in parts
  ]


def _sizes(sources) -> str:
  return ', '.join(f'{name!r} ({len(s)})' for name, s in sources.items())
