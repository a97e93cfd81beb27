"""Edges: what they are, what is refused, which passes they take."""

import numpy as np
import pytest

from lst import placement
from lst.placement import Edge

DEPTH = 3


@pytest.mark.parametrize('pair, kind', [
    ((0, 0), 'sequential'), ((6, 6), 'sequential'), ((0, 1), 'parallel'),
    ((5, 6), 'parallel'), ((0, 2), 'long-range'), ((0, 6), 'long-range'),
    ((1, 0), 'recurrent'), ((6, 0), 'recurrent')])
def test_kinds(pair, kind):
  assert Edge(*pair).kind == kind


def test_every_edge_has_one_kind():
  every = placement.everything(DEPTH)
  kinds = [edge.kind for edge in every]
  assert len(set(every)) == 49
  assert [kinds.count(k) for k in (
      'sequential', 'parallel', 'long-range', 'recurrent')] == [7, 6, 15, 21]


@pytest.mark.parametrize('pairs, words', [
    ([(0, 7)], r'Edge\(source=0, target=7\) is outside .* from 0 to 6'),
    ([(-1, 2)], 'is outside'),
    ([(0, 1), (1, 1), (0, 1)], r'Edge\(source=0, target=1\) stands more than'),
    ([(0, 1, 2)], r'\(0, 1, 2\) is no edge'),
    ([(0.5, 1)], r'\(0.5, 1\) is no edge'),
    ([3], r'\(3,\) is no edge'),
    (['01'], 'is no edge')])
def test_what_is_no_edge_is_refused(pairs, words):
  with pytest.raises(ValueError, match=words):
    placement.checked(pairs, DEPTH)


def test_edges_come_in_order_of_target_then_source():
  pairs = [np.int64([5, 2]), (0, 4), (4, 4), (6, 4), (1, 2)]
  assert placement.checked(pairs, DEPTH) == (
      (1, 2), (5, 2), (0, 4), (4, 4), (6, 4))


@pytest.mark.parametrize('edges, expected', [
    ([], (6, (6,), 6)),
    ([(3, 4)], (4, (3, 4), 4)),
    ([(4, 4), (5, 6)], (4, (4,), 4)),
    # What a recurrent edge reads is ahead, of the plain pass.
    ([(5, 2)], (2, (2, 5), 5)),
    ([(3, 1), (6, 5)], (1, (1, 3, 6), 6)),
    # Read from the second pass, which is already running there.
    ([(2, 2), (3, 6)], (2, (2,), 2))])
def test_passes(edges, expected):
  edges = [Edge(*e) for e in edges]
  assert tuple(placement.passes(edges, DEPTH)) == expected


def test_forward_passes_of_edges():
  # Attention costs 2 and an MLP 3; the embedding 1: a plain pass is 16.
  layers = placement.Layers(1.0, 2.0, 3.0, DEPTH)
  assert layers.whole == 16.0
  cases = {
      (): 16, ((0, 1),): 16, ((6, 6),): 16, ((6, 0),): 31, ((3, 2),): 18,
      ((4, 3),): 19, ((6, 5),): 19, ((6, 5), (4, 3)): 16 + 8}
  for edges, flops in cases.items():
    edges = [Edge(*e) for e in edges]
    assert layers.forwards(edges) == pytest.approx(flops / 16)
