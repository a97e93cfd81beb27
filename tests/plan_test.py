"""The plan: counts, sizes, rivals; with libtpu, ViT-e video on one 16 GB chip.
"""

import csv
import functools
import importlib.util
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from experiments.plan import run as plan_run
from experiments.plan import vit_e_video
from lst import config as config_lib
from lst import report
from lst.plan import chips, cost, flops, programs, table
from lst.product import by_row
from tests import tiny

CHIP = chips.CHIPS['v5e']
# Needs the extra `plan`; the default suite goes without.
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None, reason='needs lst[plan]')
needs_cuda = pytest.mark.skipif(
    importlib.util.find_spec('jax_cuda13_plugin') is None,
    reason='needs lst[plan]')


def test_a_loop_is_counted_as_often_as_it_runs():
  x, w = jnp.ones((2, 3)), jnp.ones((7, 3, 3))

  def scanned(x, w):
    return jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]

  def gradient(x, w):
    return jax.value_and_grad(lambda w: (x @ w).sum())(w)

  assert flops.count(scanned, x, w) == 7 * 2 * 2 * 3 * 3
  assert flops.count(gradient, x, w[0]) == 2 * 2 * (2 * 3 * 3)


def test_what_nobody_reads_is_not_counted():
  """The backward pass of a product has both gradients, one is asked for."""
  x, w = jnp.ones((1, 2, 3)), jnp.ones((5, 3))
  product = 2 * 2 * 3 * 5

  def loss(x, w):
    return by_row(x, w).sum()

  assert flops.count(jax.value_and_grad(loss), x, w) == 2 * product
  assert flops.count(jax.value_and_grad(loss, (0, 1)), x, w) == 3 * product


@pytest.mark.parametrize('remat, most', [(False, 2.1), (True, 3.1)])
def test_lora_computes_no_gradient_of_frozen_weights(
    monkeypatch, remat, most):
  """Forward, and the gradients of states; with `remat`, most of it twice."""
  monkeypatch.setattr(programs, '_tried', lambda of: (None, 'not compiled'))
  config = tiny.config('random:S/16', ('lora', 'losa'))
  config.tuning.remat = remat
  made = programs.plan(config, tiny.CLASSES, jax.devices()[:1])
  assert most - 0.5 < made.flops / made.forward_flops < most


def test_a_plan_has_the_sizes_of_what_is_built(weights, backbone):
  config = tiny.config(weights)
  made = programs.plan(config, tiny.CLASSES, jax.devices()[:1])
  assert made.sizes.weights == sum(
      x.nbytes for x in jax.tree.leaves(backbone.frozen))
  adapted = programs.methods.build(config, backbone, tiny.CLASSES)
  images = jax.ShapeDtypeStruct((1, tiny.SIZE, tiny.SIZE, 3), jnp.uint8)
  params = jax.eval_shape(
      adapted.init, jax.random.key(0), backbone.frozen, images)
  assert made.sizes.trained == 4 * report.count(params)
  # Two batches of features, in f32.
  features = tiny.VIT.depth * tiny.EXAMPLES * tiny.TOKENS * tiny.VIT.width
  assert made.sizes.taps == pytest.approx(2 * 4 * features, rel=0.01)
  assert made.sizes.total > made.sizes.weights + made.sizes.taps
  assert 1.0 < made.flops / made.forward_flops < 1.6


def test_a_plan_of_what_goes_on_through_the_backbone(weights):
  """Without a cache its plain pass is a part of the step: no taps between."""
  config = tiny.config(weights)
  config.method = 'placed'
  made = programs.plan(config, tiny.CLASSES, jax.devices()[:1])
  assert made.sizes.taps == 0 < made.sizes.trained
  assert made.sizes.work > 0


def test_the_largest_microbatch_is_what_the_rest_of_the_memory_holds():
  config = config_lib.default()
  config.train.batch_size = 4
  sizes = programs.Sizes(
      weights=10, trained=1, optimizer=2, batch=4, taps=20, work=16, streamed=9)
  assert sizes.total == 53
  chip = CHIP._replace(memory=113.0)
  # 40 bytes for 4 examples, 100 bytes left.
  assert table.largest(sizes, config, chip, 1) == 10
  assert table.largest(sizes, config, chip._replace(memory=5.0), 1) == 0


def test_the_rows_of_clips_and_of_images(monkeypatch):
  made = []

  def row(name, config, *rest):
    made.append(name)
    return {'method': name, 'side': (config.method, config.side.name,
                                     config.side.keep)}

  monkeypatch.setattr(table, 'row', row)
  tubelet = types.SimpleNamespace(tubelet=0)
  monkeypatch.setattr(programs, 'shaped', lambda *_: tubelet)
  images, of_clips = config_lib.default(), clips(8)
  out = {r['method']: r['side'] for r in table.rows(
      of_clips, 10, CHIP, [], rivals=True)}
  assert list(out) == ['losa', *table.RIVALS]
  assert out['losa + no taps'] == ('side', 'losa', 'none')
  assert out['st_adapter'][0] == 'st_adapter'
  tubelet.tubelet = 2
  assert [r['method'] for r in table.rows(
      of_clips, 10, CHIP, [], rivals=True)] == [
          name for name in out if 'st_adapter' not in name]
  # What one rival changes is no part of the next.
  assert out['lora'] == ('lora', 'losa', 'exact')
  out = list(table.rows(images, 10, CHIP, [], rivals=True))
  assert [r['method'] for r in out] == ['losa', *(
      name for name in table.RIVALS if name not in table.OF_CLIPS)]
  out = list(table.rows(images, 10, CHIP, [], True, None, ['linear']))
  assert [r['method'] for r in out] == ['losa', 'linear']
  with pytest.raises(ValueError, match='--only=nobody: the rivals are losa'):
    list(table.rows(images, 10, CHIP, [], True, None, ['nobody']))
  assert programs.frames_of(of_clips) == 8 and not programs.frames_of(images)


def test_a_rival_that_is_not_there_is_left_out():
  config = config_lib.default()
  assert table.changed(config, {'method': 'nothing'}) is None
  assert table.changed(config, {'side.nothing': 1}) is None
  other = table.changed(config, {'side.name': 'linear'})
  assert (other.side.name, config.side.name) == ('linear', 'losa')


def made(flops, forward, taps=0, weights=0):
  sizes = programs.Sizes(
      weights=weights, trained=0, optimizer=0, batch=0, taps=taps, work=0,
      streamed=0)
  return programs.Plan(sizes, '', flops, forward, 0.0)


def test_chip_hours_and_cost_of_a_run():
  config = config_lib.default()
  config.train.batch_size, config.train.epochs = 10, 36.0
  # Of a step 1.1 s on each of four chips, of which the pass takes 1 s.
  peak = cost.REACHED * CHIP.flops
  plan = made(1.1 * peak, peak, taps=2 * 0.05 * CHIP.link)
  bill = cost.Bill(examples=1000, price=2.5)
  out = cost.of(plan, config, CHIP, 4, bill)
  assert out['steps'] == 3600
  assert out['chip_hours'] == pytest.approx(4 * 1.1)
  # A hundred batches of features, then 3,600 steps of 0.1 s.
  assert out['kept_chip_hours'] == pytest.approx(
      4 * (100 + 360) / 3600, rel=5e-3)
  assert (out['cost'], out['kept_cost']) == (11.0, 1.28)
  # Reading features from the host takes longer than the side step.
  slow = made(1.1 * peak, peak, taps=2 * 0.2 * CHIP.link)
  assert cost.of(slow, config, CHIP, 4, bill)['kept_chip_hours'] == (
      pytest.approx(4 * (100 + 720) / 3600, rel=5e-3))
  config.method = 'lora'
  out = cost.of(plan, config, CHIP, 4, cost.Bill(1000, 0.0))
  assert out['kept_chip_hours'] == out['cost'] == out['kept_cost'] == ''


def test_the_table_tells_costs_where_the_examples_are_given():
  config = config_lib.default()
  row = dict.fromkeys(table.FIELDS, '') | {'method': 'losa'}
  assert 'chip_hours' not in table.show([row], CHIP, 'v5e:1x1', config)
  row |= cost.of(
      made(1e15, 9e14), config, CHIP, 1, cost.Bill(1000, 1.0))
  shown = table.show([row], CHIP, 'v5e:1x1', config)
  assert 'kept_chip_hours' in shown and 'kept_cost' in shown
  assert 'Validation, compiling and the wait' in shown


def test_an_unknown_topology_is_refused():
  with pytest.raises(ValueError, match='with a chip of v5e'):
    chips.devices('v99:2x2')


def clips(frames, **side):
  """ViT-e on one clip at a time, as `experiments/plan/` has it."""
  config = vit_e_video.get_config()
  config.data.video.frames = frames
  config.side.update(side)
  return config


@functools.cache
def losa(frames, **side):
  """Its plan: twice would be once too often, and not only for the time.

  What a compilation cache keeps is not read back without a device.
  """
  chip, found = chips.devices('v5e:1x1')
  made = programs.plan(clips(frames, **side), 400, found)
  assert made.sizes is not None, made.refused
  assert made.sizes.total <= chip.memory
  assert made.sizes.weights > 7 * chips.GIB
  return made


@needs_libtpu
@pytest.mark.as_users
@pytest.mark.parametrize('frames', [8, 16, 32])
def test_losa_on_vit_e_video_fits_one_chip_of_16_gb(frames):
  """With mixers of channels, space and time, on a clip at 224 px."""
  made = losa(frames)
  assert 1.0 < made.flops / made.forward_flops < 1.1
  # All 56 taps of the clip and of the next one, in bf16.
  tap = frames * 256 * 1792 * 2
  assert made.sizes.taps == pytest.approx(2 * 56 * tap, rel=0.05)


@needs_libtpu
@pytest.mark.as_users
@pytest.mark.parametrize('name, frames, fits', [
    ('lora', 8, False), ('lora + remat', 32, True), ('full', 8, False),
    ('full + remat', 8, False), ('st_adapter', 8, False),
    ('st_adapter + remat', 16, True), ('st_adapter + remat', 32, False),
    ('lst', 8, False), ('side4video', 16, True)])
def test_where_rivals_stop_fitting(name, frames, fits):
  """Of 2 and 4 blocks, linear in depth: one clip on one chip of 16 GB."""
  chip, found = chips.devices('v5e:1x1')
  config = table.changed(
      clips(frames), {'method': 'side', **table.RIVALS[name]})
  made = plan_run.compiled(name, config, found)
  assert (made.sizes.total <= chip.memory) == fits, made
  assert made.flops > made.forward_flops


@needs_libtpu
@pytest.mark.as_users
def test_what_is_not_kept_takes_no_memory():
  """Of 32 frames all taps in bf16 are 1.5 GiB, those of the next clip too."""
  kept, made = losa(32), losa(32, keep='none')
  assert made.sizes.taps == 0
  # Nor does anything of their size stand in for them.
  assert made.sizes.work < kept.sizes.work
  assert made.sizes.total < kept.sizes.total - 3 * chips.GIB
  assert 2.0 < made.flops / made.forward_flops < 2.1


@needs_cuda
def test_18_billion_parameters_train_on_one_card_of_80_gb(tmp_path):
  """In a process of its own: the plugin for cards looks for one."""
  out = tmp_path / 'plan.csv'
  subprocess.run(
      [sys.executable, '-m', 'lst.plan', '--topology=h100', '--rivals=false',
       '--config=experiments/plan/eva_18b.py', f'--csv={out}'], check=True)
  row, = csv.DictReader(out.read_text().splitlines())
  assert row['fits'] == 'True'
  assert 16 * 1024 < float(row['weights_mib']) < 17 * 1024
  assert 1.0 < float(row['step_over_forward']) < 1.05


@needs_libtpu
@pytest.mark.as_users
def test_18_billion_streamed_parameters_need_not_fit_the_chip():
  config = config_lib.default()
  config.backbone.weights = 'random:eva_clip_18b/14'
  config.side.name, config.train.batch_size = 'linear', 1
  chip, found = chips.devices('v5e:1x1')
  config.backbone.blocks = 'scan'
  resident = programs.plan(config, 400, found)
  assert resident.sizes is None and 'hbm' in resident.refused.lower()
  config.backbone.blocks = 'host'
  streamed = programs.plan(config, 400, found)
  assert streamed.sizes.total < chip.memory < streamed.sizes.streamed
