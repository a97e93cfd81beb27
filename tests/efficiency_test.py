"""The efficiency experiment: a case from end to end, rows, targets, picture."""

import argparse
import json
import types

import pytest

from experiments.efficiency import (
    cases,
    plot,
    programs,
    results,
    run,
    targets,
    worker,
)

CASE = cases.Case('Ti/16', 2, 1, 'losa', 32)


def test_every_case_is_there_once_and_adapters_of_clips_have_clips():
  groups = cases.plan(('L/16',), ((0, 4), (8, 2)))
  assert [len(group) for group in groups] == [7, 8]
  assert {case.method for case in groups[1]} == set(cases.METHODS)
  assert 'st_adapter' not in {case.method for case in groups[0]}
  assert cases.capped(('e/14', 'B/16'), 224)[0][0].cap_gib == 16
  assert not cases.capped(('B/16',), 224)


@pytest.mark.parametrize('method', cases.METHODS)
def test_every_case_names_fields_that_there_are(method):
  config = programs.configured(CASE._replace(method=method))
  assert config.backbone.weights == 'random:Ti/16'
  for field, value in cases.METHODS[method].items():
    part = config
    for name in field.split('.'):
      part = part[name]
    assert part == value


@pytest.fixture
def shallow(monkeypatch):
  """The preset with one block, to be compiled in no time."""
  from lst.backbones import loading
  whole = loading.preset
  monkeypatch.setattr(
      loading, 'preset', lambda *args, **kw: whole(*args, **kw).clone(depth=1))


def test_the_whole_command_at_small_size(
    shallow, tmp_path, monkeypatch):
  """Workers in this process, where others would each take seconds to start."""
  asked = []

  def in_this_process(command, *, timeout, env, **kwargs):
    asked.append((json.loads(command[3]), env, timeout))
    lines = []
    worker.serve(worker.flags(command[3:]), lambda x: lines.append(
        json.dumps(x)))
    return types.SimpleNamespace(
        stdout='\n'.join(lines).encode(), stderr=b'', returncode=0)

  monkeypatch.setattr(run.subprocess, 'run', in_this_process)
  args = argparse.Namespace(
      out=tmp_path, rounds=2, steps=2, most=2, timeout=5.0, rehearse=True,
      device_gib=0.0)
  groups = cases.plan(('Ti/16',), ((2, 1),), ('forward', 'losa'), 32)
  run.measure(args, groups)
  # In turns; and never again what is there.
  assert [one['method'] for one, *_ in asked] == ['forward', 'losa'] * 2
  assert asked[0][2] == 5.0 and 'JAX_COMPILATION_CACHE_DIR' in asked[0][1]
  run.measure(args, groups)
  assert len(asked) == 4
  found = results.rows(run.samples(tmp_path / run.SAMPLES))
  forward, step = found
  assert step['forward_ms'] == forward['step_ms'] == forward['forward_ms'] > 0
  assert step['samples'] == 4 and step['fits']
  assert step['largest_batch'] == 2 and not step['largest_is_all']
  assert step['images_per_s'] == pytest.approx(2e3 / step['step_ms'], rel=0.01)
  assert 0 < step['state_mib'] < step['peak_mib']
  assert step['plan_mib'] > step['state_mib'] / 2
  results.write(tmp_path / 'results.csv', found)
  plot.draw(found, True, tmp_path / 'efficiency.png')
  assert (tmp_path / 'efficiency.png').stat().st_size > 5000


def test_what_does_not_end_well_is_a_row_and_not_the_end(tmp_path, monkeypatch):
  def ends(command, *, timeout, env, **kwargs):
    method = json.loads(command[3])['method']
    if method == 'lora':
      raise run.subprocess.TimeoutExpired(command, timeout, b'', b'')
    return {
        'full': types.SimpleNamespace(
            stdout=b'', returncode=1,
            stderr=b'jaxlib.JaxRuntimeError: RESOURCE_EXHAUSTED: 20 GiB'),
        'losa': types.SimpleNamespace(
            stdout=b'{"ms": [2.0, 4.0], "peak_mib": 9, "state_mib": 5}\n'
                   b'{"largest": 8}', returncode=-9, stderr=b''),
    }[method]

  monkeypatch.setattr(run.subprocess, 'run', ends)
  args = argparse.Namespace(
      out=tmp_path, rounds=2, steps=2, most=2, timeout=5.0, rehearse=False,
      device_gib=80.0)
  run.measure(args, cases.plan(
      ('e/14',), ((32, 1),), ('losa', 'lora', 'full')))
  found = {row['method']: row for row in results.rows(
      run.samples(tmp_path / run.SAMPLES))}
  assert found['full']['note'].startswith('out of memory: ')
  assert found['lora']['note'] == 'failed: ended after 5 s'
  assert [found[k]['fits'] for k in ('losa', 'lora', 'full')] == [
      True, False, False]
  # It said these two before it died.
  assert found['losa']['largest_batch'] == 8 and found['losa']['step_ms'] == 3
  # What did not run once is not tried again.
  lines = run.samples(tmp_path / run.SAMPLES)
  assert [line['turn'] for line in lines if line['method'] == 'full'] == [0]


def row(**fields):
  return dict.fromkeys(results.FIELDS, '') | {
      'model': 'e/14', 'frames': 32, 'batch': 1, 'size': 224, 'cap_gib': 0.0,
      'fits': True, 'peak_of': 'allocator', 'plan_mib': None} | fields


def test_targets_are_held_missed_or_not_measured():
  losa = row(method='losa', forward_ms=100, step_ms=109, peak_mib=8000,
             activation_mib=900, plan_mib=9100)
  rival = row(method='lora_remat', step_ms=250, activation_mib=2000)
  capped = row(method='losa', cap_gib=16.0, step_ms=110, peak_mib=9000)
  def held(*rows):
    return [target.held for target in targets.check(list(rows))]
  assert held(losa, rival, capped) == [True] * 5
  slow = losa | {'step_ms': 120, 'activation_mib': 1100, 'plan_mib': 9320}
  assert held(slow, rival, capped | {'fits': False, 'note': 'no'}) == [
      False] * 5
  gone = rival | {'fits': False, 'step_ms': ''}
  assert held(losa, gone) == [True, None, None, True, None]
  on_cpu = losa | {'peak_of': 'process'}
  assert held(on_cpu, rival) == [True, True, None, None, None]
  told = targets.told(targets.check([slow, rival, capped]))
  assert 'MISSED  a step takes at most 1.1 x the forward pass' in told
  assert '1.20 x' in told and '+16.5%' in told
