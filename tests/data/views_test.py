"""Fixed views: the same each time, all shown equally often, resumable."""

import itertools

import numpy as np
import pytest

from lst import build, data
from lst.data import views
from lst.data.examples import Example
from tests import tiny

N = 11


def image(size=(12, 10), seed=0):
  return np.random.RandomState(seed).randint(0, 256, (*size, 3), np.uint8)


class Images:
  def __len__(self):
    return N

  def __getitem__(self, index):
    return Example(image(seed=index), index)


SPLIT = data.Split('train', Images())


@pytest.mark.parametrize('augment', views.AUGMENTS)
def test_view_0_is_the_plain_image(augment):
  assert np.array_equal(data.view(image(), 3, 0, augment), image())


def test_flip_is_the_mirror_image():
  shown = data.view(image(), 3, 1, 'flip')
  assert np.array_equal(shown, np.fliplr(image()))
  assert shown.flags.c_contiguous and shown.dtype == np.uint8


def test_a_crop_is_a_window_of_the_image_mirrored_or_not():
  mirrored = 0
  for number in range(1, 30):
    shown = data.view(image(), 3, number, 'crop')
    height, width = shown.shape[:2]
    assert 6 <= height <= 12 and 5 <= width <= 10
    windows = [
      (turned[y : y + height, x : x + width], kind)
      for kind, turned in enumerate((image(), np.fliplr(image())))
      for y in range(13 - height)
      for x in range(11 - width)
    ]
    kinds = [kind for w, kind in windows if np.array_equal(w, shown)]
    assert kinds
    mirrored += kinds[0]
  assert 5 < mirrored < 25


def test_each_of_index_number_and_seed_gives_another_crop():
  def shape(*args):
    return data.view(image((400, 300)), *args).shape

  usual = shape(3, 1, 'crop', 0)
  assert usual == shape(3, 1, 'crop', 0)
  for other in ((4, 1, 'crop', 0), (3, 2, 'crop', 0), (3, 1, 'crop', 1)):
    assert shape(*other) != usual


def test_the_draws_are_what_they_were():
  """A change here makes caches and resumed runs differ from before."""
  shown = data.view(image((400, 300)), 3, 1, 'crop', 0)
  assert (shown.shape, int(shown.sum())) == ((286, 284, 3), 31048181)


def test_rows_are_examples_times_views():
  rows = data.viewed(SPLIT, 'crop', 3)
  assert rows.size == 33
  for row in (0, 7, 32):
    shown, label = rows.source[row]
    assert label == row // 3
    expected = data.view(image(seed=row // 3), row // 3, row % 3, 'crop')
    assert np.array_equal(shown, expected)
  assert data.viewed(SPLIT) is SPLIT


def train(steps, **options):
  options = {'batch_size': 4, 'image_size': 9, 'augment': 'crop', 'views': 3,
             'seed': 1, **options}
  return list(itertools.islice(data.train_batches(SPLIT, **options), steps))


def rows_of(steps, **options):
  options = {'batch_size': 4, 'views': 3, 'seed': 1, **options}
  batches = data.train_rows(N, lambda rows: rows, **options)
  return np.concatenate(list(itertools.islice(batches, steps)))


def same(left, right):
  return all(
    np.array_equal(x, y)
    for a, b in zip(left, right, strict=True)
    for x, y in zip(a, b, strict=True)
  )


def test_the_examples_come_in_the_order_they_come_without_views():
  plain = rows_of(20, views=1)
  assert np.array_equal(rows_of(20) // 3, plain)


def test_every_view_is_shown_once_in_as_many_epochs_as_there_are():
  rows = rows_of(3 * N, batch_size=4)[: 3 * 2 * N]
  for part in (rows[: 3 * N], rows[3 * N :]):
    assert np.array_equal(np.sort(part), np.arange(3 * N))
  # Not the same view of all at once.
  assert len(set(rows[:N] % 3)) == 3


def test_images_are_those_of_the_rows():
  every = data.viewed(SPLIT, 'crop', 3)
  whole = next(data.eval_batches(every, batch_size=33, image_size=9))
  shown = train(9)
  rows = rows_of(9)
  assert np.array_equal(
    np.concatenate([b.inputs for b in shown]), whole.inputs[rows]
  )
  assert same(shown, train(9, cache_bytes=0))
  assert same(shown, train(9, workers=0))


@pytest.mark.parametrize('start', [1, 5, 10**5])
def test_resuming_shows_the_same_views(start):
  resumed = train(3, start_step=start)
  if start < 100:
    assert same(resumed, train(start + 3)[start:])
  assert same(resumed[1:], train(2, start_step=start + 1))


def test_hosts_share_the_rows_of_a_batch():
  parts = [rows_of(9, process_index=i, process_count=2) for i in range(2)]
  joined = np.concatenate([p.reshape(9, 2) for p in parts], 1)
  assert np.array_equal(joined.ravel(), rows_of(9))


def test_rows_for_evaluation_are_padded():
  rows = np.array([5, 1, 9])
  batches = data.eval_rows(rows, lambda rows: rows, batch_size=2)
  assert [b.tolist() for b in batches] == [[5, 1], [9, data.PADDING]]
  assert not list(data.eval_rows(rows[:0], lambda rows: rows, batch_size=2))


@pytest.mark.parametrize('augment, number, message', [
  ('none', 2, "data.augment='none' has 1 to 1"),
  ('flip', 3, "data.augment='flip' has 1 to 2"),
  ('crop', 0, "data.augment='crop' has 1 or more"),
  ('crop', 1, 'set config.data.views to 2 or more'),
  ('flop', 2, "Did you mean 'flip'"),
])
def test_views_that_are_not_there_are_told(augment, number, message):
  with pytest.raises(data.DataError, match=message):
    train(1, augment=augment, views=number)


def test_they_are_told_ahead_of_the_backbone():
  config = tiny.config('no/such/file.safetensors')
  config.data.augment, config.data.views = 'flop', 2
  with pytest.raises(data.DataError, match="augment is 'flop'"):
    build.build(config)
