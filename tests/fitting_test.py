"""`config.memory`: what is tried, in which order, what fits, what is said."""

import jax
import pytest

from lst import train
from lst.plan import fitting, programs
from tests import tiny

GIB = fitting.GIB


def sizes(total, weights=0):
  return programs.Sizes(
      weights=weights, trained=0, optimizer=0, batch=0, taps=0,
      work=total - weights, streamed=0)


def tried(config, found=1, frames=0):
  return [
      (c.changes.get('side.keep') or c.changes.get('tuning.remat') or '',
       c.micro)
      for c in fitting.choices(config, jax.devices()[:found], 10, frames)]


def test_the_cheapest_in_time_come_first(weights):
  config = tiny.config(weights)
  config.train.batch_size = 256
  # 18 tokens an image: below 64 images a device is slower, two passes slower.
  assert tried(config) == [
      ('', 256), ('', 128), ('', 64), ('', 32), ('none', 256), ('none', 128),
      ('none', 64), ('', 16), ('none', 32), ('', 8), ('none', 16), ('', 4),
      ('none', 8), ('', 2), ('none', 4), ('', 1), ('none', 2), ('none', 1)]
  assert tried(config, 8)[:3] == [('', 256), ('', 128), ('none', 256)]
  assert min(micro for _, micro in tried(config, 8)) == 8


def test_blocks_on_disk_go_through_as_they_are(weights):
  """Their taps are those of the whole batch, made ahead of the step."""
  config = tiny.config(weights)
  config.backbone.blocks = 'disk'
  assert tried(config) == [('', 8)]


def test_what_is_evaluated_at_a_time_has_whole_videos(weights):
  config, device = tiny.config(weights), jax.devices()[:1]
  config.train.eval_batch_size = 128
  assert [fitting._evaluated(config, n, device, 0) for n in (1, 64, 256)] == [
      1, 64, 128]
  config.data.video.test_clips, config.data.video.test_crops = 2, 3
  assert [fitting._evaluated(config, n, device, 4) for n in (1, 8, 64)] == [
      6, 6, 60]


def test_gradients_that_are_gathered_take_memory(weights):
  config, found = tiny.config(weights, ('full', 'linear')), {}
  for config.optimizer.accumulate in (1, 2):
    found[config.optimizer.accumulate], _ = programs.memory(
        config, 10, jax.devices()[:1], 0)
  more = found[2].optimizer - found[1].optimizer
  assert found[1].trained <= more < 1.01 * found[1].trained


def test_what_is_never_changed(weights):
  config = tiny.config(weights)
  config.train.microbatch = 4
  assert {micro for _, micro in tried(config)} == {4, 2, 1}
  # A cache is asked for, or 8 bits, or but one tap is read.
  for field, value in (
      ('cache.mode', 'ram'), ('side.keep', 'int8'), ('side.name', 'linear'),
      ('side.taps', (2, 6))):
    other = tiny.config(weights)
    other.update_from_flattened_dict({field: value})
    assert {keep for keep, _ in tried(other)} == {''}
  tuned = tiny.config(weights, ('lora', 'losa'))
  assert {keep for keep, _ in tried(tuned)} == {'', True}
  # Of clips there are more tokens.
  clips = tiny.config(weights)
  assert tried(clips, frames=64)[:2] == [('', 8), ('', 4)]


def test_the_first_that_fits_is_taken_and_what_cannot_fit_is_not_compiled():
  tried = [fitting.Choice({'train.microbatch': m}, m, 1.0) for m in (8, 4, 2)]
  tried += [fitting.Choice({'side.keep': 'none'}, 8, 2.0)]
  seen = []

  def of(choice):
    seen.append((choice.micro, choice.changes.get('side.keep')))
    return (sizes(400, 100) if 'side.keep' in choice.changes else
            sizes(100 + 200 * choice.micro, 100)), ''

  choice, total, _ = fitting.first_fit(tried, of, 600.0)
  assert (choice.micro, total, seen) == (2, 500, [(8, None), (2, None)])
  seen.clear()
  choice, total, _ = fitting.first_fit(tried, of, 450.0)
  assert choice.changes == {'side.keep': 'none'}
  assert seen == [(8, None), (8, 'none')]
  choice, _, smallest = fitting.first_fit(tried, of, 300.0)
  assert choice is None and 'config.side.keep=none, takes' in smallest
  choice, _, smallest = fitting.first_fit(
      tried, lambda choice: (None, 'no room'), 300.0)
  assert choice is None and 'no room' in smallest


@pytest.mark.parametrize('memory', ['', 'much', '-1', 'inf', 'nan', '0'])
def test_what_is_no_amount(memory, weights):
  config = tiny.config(weights)
  config.memory = memory
  with pytest.raises(ValueError, match=r'config\.memory=.* no amount'):
    fitting.fit(config)


def test_without_a_limit_nothing_is_changed_and_nothing_compiled(
    weights, monkeypatch):
  config = tiny.config(weights)
  monkeypatch.setattr(programs, 'memory', None)
  for config.memory in ('auto', 'off'):
    assert fitting.fit(config) == (config, '')
  fitting.refuse(config, 'a sweep')
  config.memory = '2'
  with pytest.raises(ValueError, match='a sweep does not keep to it'):
    fitting.refuse(config, 'a sweep')


def test_auto_asks_the_device(weights, monkeypatch):
  monkeypatch.setattr(
      fitting.jax, 'local_devices', lambda: [Told(3 * GIB), Told(2 * GIB)])
  assert fitting.budget('auto') == 2 * GIB
  monkeypatch.setattr(fitting.jax, 'local_devices', lambda: [Told(None)])
  assert fitting.budget('auto') == 0


class Told:
  """A device that knows its limit."""

  def __init__(self, limit):
    self._limit = limit

  def memory_stats(self):
    return self._limit and {'bytes_limit': self._limit}


def test_a_run_keeps_to_its_budget(weights, tmp_path, capsys, monkeypatch):
  def memory(config, *rest):
    micro = config.train.microbatch or config.train.batch_size
    return sizes((1 + micro) * GIB, GIB), ''

  monkeypatch.setattr(programs, 'memory', memory)
  config = tiny.config(weights)
  config.data.train, config.data.test = 'train[:16]', 'test[:8]'
  config.cache.mode, config.memory, config.mesh.data = 'off', '3.5', 1
  result = train.run(config, tmp_path / 'run')
  config.memory = '1.5'
  with pytest.raises(ValueError, match=r'takes 2\.00'):
    train.run(config, tmp_path / 'none')
  # What was chosen is of the result, the config asked for stays as it was.
  assert result['config']['train.microbatch'] == 2
  assert result['config']['train.eval_batch_size'] == 2
  assert config.train.microbatch == 0
  assert 'GiB' in capsys.readouterr().out
