"""The order of the data: epochs, hosts, resuming, padding, caching."""

import itertools

import numpy as np
import pytest

from lst import data
from lst.data.examples import Example

N = 23
ORDER = [16, 6, 20, 3, 19, 13, 18, 10, 5, 17, 15, 11, 8, 2, 4, 1]


class Counting:
  """Images whose first pixel and label are the index; counts the reads."""

  def __init__(self, number=N):
    self.number = number
    self.reads = 0

  def __len__(self):
    return self.number

  def __getitem__(self, index):
    self.reads += 1
    return Example(np.full((3, 3, 3), index, np.uint8), index)


def train(number=N, steps=None, **options):
  options = {'batch_size': 8, 'image_size': 3, 'seed': 1, **options}
  split = data.Split('train', Counting(number))
  return list(itertools.islice(data.train_batches(split, **options), steps))


def labels(batches):
  return np.concatenate([batch.label for batch in batches])


def same(left, right):
  return len(left) == len(right) and all(
    np.array_equal(x, y)
    for a, b in zip(left, right, strict=True)
    for x, y in zip(a, b, strict=True)
  )


def test_a_batch_has_the_declared_shapes_and_types():
  batch = train(steps=1, image_size=(5, 7))[0]
  assert batch.inputs.shape == (8, 5, 7, 3) and batch.inputs.dtype == np.uint8
  assert batch.label.shape == (8,) and batch.label.dtype == np.int32
  assert batch.mask.dtype == np.float32 and np.array_equal(batch.mask, [1] * 8)
  assert np.array_equal(batch.inputs[:, 0, 0, 0], batch.label)


@pytest.mark.parametrize('number', [1, 2, 3, 8, 23, 40])
def test_each_epoch_is_another_permutation(number):
  epochs = labels(train(number, steps=5 * number)).reshape(-1, number)
  for epoch in epochs:
    assert np.array_equal(np.sort(epoch), np.arange(number))
  if number >= 8:
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
    assert not any((np.diff(epoch) == 1).all() for epoch in epochs)


def test_the_order_depends_on_the_seed_alone():
  usual = labels(train(steps=20))
  assert np.array_equal(usual, labels(train(steps=20, workers=0)))
  assert np.array_equal(usual, labels(train(steps=20, workers=3, prefetch=9)))
  other = labels(train(steps=20, seed=2))
  assert not np.array_equal(usual, other)
  # Nor is the next seed the same order one epoch later.
  assert not np.array_equal(usual[N : 2 * N], other[:N])


def test_the_order_is_what_it_was():
  """A change here breaks the resuming of every run that is under way."""
  assert labels(train(steps=2)).tolist() == ORDER


@pytest.mark.parametrize('start', [0, 1, 2, 3, 17, 10**6])
def test_starting_at_a_step_equals_skipping_to_it(start):
  resumed = train(steps=4, start_step=start)
  if start < 100:
    assert same(resumed, train(steps=start + 4)[start:])
  again = train(steps=3, start_step=start + 1)
  assert same(resumed[1:], again)


@pytest.mark.parametrize('hosts', [2, 4, 8])
def test_hosts_share_a_global_batch_row_by_row(hosts):
  whole = train(steps=7)
  parts = [
    train(steps=7, process_index=host, process_count=hosts)
    for host in range(hosts)
  ]
  for step, batch in enumerate(whole):
    rows = zip(*(part[step] for part in parts), strict=True)
    joined = [np.concatenate(x) for x in rows]
    assert same([joined], [batch])


@pytest.mark.parametrize('hosts', [1, 2, 4])
@pytest.mark.parametrize('number', [1, 7, 8, 9, 16])
def test_evaluation_is_padded_and_masked(number, hosts):
  split = data.Split('test', Counting(number))
  parts = [
    list(
      data.eval_batches(
        split, batch_size=8, image_size=3, process_index=host,
        process_count=hosts,
      )
    )
    for host in range(hosts)
  ]
  assert {len(part) for part in parts} == {-(-number // 8)}
  joined = [
    [np.concatenate(x) for x in zip(*step, strict=True)]
    for step in zip(*parts, strict=True)
  ]
  image, label, mask = (np.concatenate(x) for x in zip(*joined, strict=True))
  assert len(label) == 8 * len(parts[0])
  assert np.array_equal(mask, np.arange(len(mask)) < number)
  assert np.array_equal(label[:number], np.arange(number))
  assert not label[number:].any() and not image[number:].any()


def test_cached_equals_uncached_and_reads_each_image_once():
  kept, fresh = (data.Split('train', Counting()) for _ in range(2))
  options = {'batch_size': 8, 'image_size': 6, 'seed': 1, 'workers': 0}
  left = itertools.islice(data.train_batches(kept, **options), 20)
  right = itertools.islice(
    data.train_batches(fresh, **options, cache_bytes=0), 20
  )
  assert same(list(left), list(right))
  assert kept.source.reads == N
  assert fresh.source.reads == 160


def test_a_cache_serves_evaluation_and_respects_its_limit():
  split = data.Split('test', Counting())
  kept = data.cached(split, image_size=6)
  assert data.cached(kept, image_size=6) is kept
  assert data.cached(split, image_size=6, max_bytes=N * 108 - 1) is split
  assert data.cached(split, image_size=6, max_bytes=N * 108) is not split
  passes = [
    list(data.eval_batches(kept, batch_size=8, image_size=6))
    for _ in range(2)
  ]
  assert same(*passes) and split.source.reads == N
  # Another size is another cache.
  other = data.cached(kept, image_size=3)
  assert other is not kept
  assert other.source[4].image.shape == (3, 3, 3)


def test_position_counts_epochs_and_guards_the_order():
  split = data.Split('train', Counting())
  here = data.position(split, batch_size=8, seed=1, step=23)
  assert here.epoch == 8
  data.check_position(here, here._replace(step=40))
  with pytest.raises(data.DataError, match=r'step 23 .* seed 1, .* has 2'):
    data.check_position(here, here._replace(seed=2))
  with pytest.raises(data.DataError, match='examples 23'):
    data.check_position(here, here._replace(examples=24))


@pytest.mark.parametrize(
  'options, message',
  [
    ({'batch_size': 0}, 'batch_size 0 cannot be shared'),
    ({'batch_size': 6, 'process_count': 4}, 'multiple of 4'),
    ({'process_index': 2, 'process_count': 2}, 'process_index 2 is outside'),
    ({'start_step': -1}, 'start_step is -1'),
    ({'image_size': 0}, 'image_size is 0'),
    ({'resize': 'bicubik'}, "Did you mean 'bicubic'"),
  ],
)
def test_impossible_options_fail_at_once(options, message):
  with pytest.raises(data.DataError, match=message):
    train(steps=0, **options)


def test_a_broken_image_is_named(tmp_path, write_image):
  good, bad = tmp_path / 'good.png', tmp_path / 'bad.png'
  write_image(good, size=(40, 40))
  bad.write_bytes(good.read_bytes()[:60])
  gone = tmp_path / 'gone.png'

  class Files:
    def __init__(self, *paths):
      self.paths = [str(p) for p in paths]

    def __len__(self):
      return len(self.paths)

    def __getitem__(self, index):
      return Example(self.paths[index], 0)

  for path, reason in ((bad, 'truncated'), (gone, 'No such file')):
    split = data.Split('val200', Files(good, path))
    message = rf"Example 1 of the split 'val200' \(file {path}\).*{reason}"
    for workers in (0, 2):
      with pytest.raises(data.DataError, match=message):
        list(
          data.eval_batches(
            split, batch_size=2, image_size=4, workers=workers
          )
        )
      with pytest.raises(data.DataError, match=message):
        next(
          data.train_batches(
            split, batch_size=2, image_size=4, workers=workers
          )
        )
