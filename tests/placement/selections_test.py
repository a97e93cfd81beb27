"""Selections against a slow reference, ties and refusals."""

import numpy as np
import pytest

from lst import placement
from lst.placement import Asked, Edge, select

DEPTH = 3
NODES = 2 * DEPTH + 1
LAYERS = placement.Layers(1.0, 2.0, 3.0, DEPTH)


def slow(scores, count, gamma, cost=0.0):
  """Gradient Guided Adapters as the paper has it, one number at a time."""
  left = {(i, j): float(s) for (i, j), s in np.ndenumerate(scores)}
  chosen = []
  while len(chosen) < count:
    def extra(edge):
      edges = [Edge(*e) for e in chosen]
      now = LAYERS.forwards(edges) if edges else 1.0
      return LAYERS.forwards([*edges, Edge(*edge)]) - now

    worth = {e: s / (1.0 + cost * max(0.0, extra(e))) for e, s in left.items()}
    best = max(worth.values())
    if best <= 0:
      break
    equal = [e for e, s in worth.items() if s >= best * (1 - 1e-12)]
    k, m = min(equal, key=lambda e: (extra(e), e))
    chosen.append((k, m))
    for i, j in left:
      left[i, j] *= 1.0 - gamma ** (abs(i - k) + abs(j - m))
  return tuple(chosen)


@pytest.mark.parametrize('gamma', [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize('seed', range(6))
def test_picks_are_those_of_a_slow_reference(seed, gamma):
  rng = np.random.default_rng(seed)
  scores = rng.random((NODES, NODES))
  if seed % 3 == 1:
    scores = np.ceil(3 * scores)  # Ties all over.
  elif seed % 3 == 2:
    scores[rng.random(scores.shape) < 0.8] = 0.0
  cost = (0.0, 2.0)[seed % 2]
  count = (1, 5, 30)[seed % 3]
  picks = select('gga', Asked(
      DEPTH, count, scores, gamma, LAYERS.forwards, cost))
  assert picks == slow(scores, count, gamma, cost)
  assert len(set(picks)) == len(picks) >= min(count, 3)


def test_of_equals_the_cheapest_then_the_smallest():
  picks = select('gga', Asked(
      DEPTH, 3, np.ones((NODES, NODES)), 0.6, LAYERS.forwards))
  assert picks[0] == (0, 0)
  assert all(edge.kind != 'recurrent' for edge in picks)


def test_neighbours_of_an_edge_are_held_back():
  scores = np.ones((NODES, NODES))
  scores[3, 3], scores[3, 4], scores[0, 6] = 10.0, 9.0, 5.0
  def taken(name, gamma=0.6):
    return select(name, Asked(DEPTH, 2, scores, gamma, LAYERS.forwards))
  assert taken('gga') == ((3, 3), (0, 6))
  assert taken('gga', gamma=0.0) == taken('top') == ((3, 3), (3, 4))


def test_passes_are_weighed_against_scores():
  scores = np.zeros((NODES, NODES))
  scores[6, 0], scores[2, 3] = 2.0, 1.5
  asked = Asked(DEPTH, 1, scores, 0.6, LAYERS.forwards)
  assert select('gga', asked) == ((6, 0),)
  assert select('gga', asked._replace(cost=1.0)) == ((2, 3),)


def test_it_ends_where_little_is_left():
  scores = np.zeros((NODES, NODES))
  scores[0, 0], scores[3, 3], scores[6, 6] = 10.0, 5.0, 1.0
  asked = Asked(DEPTH, 5, scores, 0.0)
  assert len(select('gga', asked)) == 3
  assert select('gga', asked._replace(least=0.3)) == ((0, 0), (3, 3))


def test_scores_are_taken_anew_where_asked():
  first, second = np.zeros((2, NODES, NODES))
  first[1, 1], first[2, 6], second[1, 1], second[5, 0] = 2, 1, 9, 1
  calls = []

  def rescore(edges):
    calls.append(edges)
    return second

  picks = select('gga', Asked(DEPTH, 2, first, 0.6, rescore=rescore))
  # (1, 1) is taken already: nothing of its score is left.
  assert picks == ((1, 1), (5, 0)) and calls == [((1, 1),)]


def test_selections_that_need_no_score():
  asked = Asked(DEPTH, 2, given=((5, 1), (0, 1)))
  assert select('first', asked) == ((0, 1), (1, 2))
  assert select('last', asked) == ((4, 5), (5, 6))
  assert select('given', asked) == ((0, 1), (5, 1))
  assert [e.kind for e in select('parallel', asked)] == ['parallel'] * 6
  assert [e.kind for e in select('sequential', asked)] == ['sequential'] * 6


def test_random_sets_are_distinct_and_reach_every_edge():
  sets = [select('random', Asked(DEPTH, 8, seed=s)) for s in range(60)]
  assert all(len(set(edges)) == 8 for edges in sets)
  assert len(set(sets)) == 60
  assert len({edge for edges in sets for edge in edges}) == NODES**2
  assert select('random', Asked(DEPTH, 8, seed=3)) == sets[3]


@pytest.mark.parametrize('name, changes, words', [
    ('best', {}, "'best' is no selection: choose one of gga, top, random"),
    ('gga', {'count': 0}, 'count=0'),
    ('gga', {'gamma': 1.0}, 'gamma=1.0'),
    ('gga', {'cost': -1.0}, 'cost=-1.0'),
    ('gga', {'least': 2.0}, 'least=2.0'),
    ('top', {'scores': None}, '7 x 7 edges'),
    ('gga', {'scores': np.full((NODES, NODES), np.nan)}, 'no number'),
    ('random', {'count': 50}, 'there are 49 edges'),
    ('given', {'given': ((0, 9),)}, 'outside this backbone'),
    ('given', {}, 'no given edges')])
def test_what_cannot_be_is_refused(name, changes, words):
  asked = Asked(DEPTH, 3, np.ones((NODES, NODES)))._replace(**changes)
  with pytest.raises(ValueError, match=words):
    select(name, asked)
