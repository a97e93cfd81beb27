"""`prepare`: what is wrong is told, the rest goes on, the status says it."""

import json
import os
import shutil

import pytest

from lst import data
from lst.data import prepare as fetching
from lst.vtab import prepare, suites, tasks
from lst.vtab.checks import check
from tests import commands
from tests.vtab import made

SMALL = ('caltech101', 'dtd', 'kitti', 'oxford_iiit_pet')


@pytest.fixture(scope='module')
def ready(tmp_path_factory):
  """All 19 as ready folders."""
  path = tmp_path_factory.mktemp('vtab')
  made.vtab(path)
  return path


@pytest.fixture
def small(ready, tmp_path):
  """Four of them, to spoil."""
  for name in SMALL:
    shutil.copytree(ready / name, tmp_path / name)
  return tmp_path


def select(path, *names):
  return suites.select('vtab', str(path), names)


def test_all_19_as_ready_folders(ready, capsys):
  assert prepare.run(select(ready), read=False) == 0
  out = capsys.readouterr().out
  for row in tasks.ROWS:
    assert (
        f'] {row.name}: ready: vtab/{row.name}, {row.classes} classes, 800 / '
        f'200 / 1,000 / {row.size:,} images\n') in out


def test_digests_are_kept_and_compared(small, tmp_path, capsys):
  kept = str(tmp_path / 'found.json')
  few = select(small, 'kitti')
  assert prepare.run(few, out=kept) == 0
  known = json.loads((tmp_path / 'found.json').read_text())
  assert len(known['kitti']['digests']) == 2
  assert prepare.run(few, expect=kept) == 0
  # The test list of one task, in another order.
  path = small / 'kitti' / 'test.txt'
  lines = path.read_text().splitlines()
  path.write_text('\n'.join([*lines[1:], lines[0]]))
  capsys.readouterr()
  assert prepare.run(few, expect=kept) == 1
  out, err = capsys.readouterr()
  assert 'kitti: the images or labels are others: sha256' in out
  assert '1 of 1 tasks cannot be run: kitti' in err
  (tmp_path / 'found.json').write_text('[]')
  with pytest.raises(data.DataError, match=r'--expect=.*is no file'):
    prepare.run(few, expect=kept)


def test_one_of_each_kind_of_fault(small, monkeypatch, capsys):
  monkeypatch.setattr(fetching, 'has_tensorflow', lambda: True)
  asked = []
  monkeypatch.setattr(fetching, 'has_network', lambda: asked.append(1))
  # A wrong count, a corrupt file, two tasks that are not there.
  lines = (small / 'dtd' / 'test.txt').read_text().splitlines()
  (small / 'dtd' / 'test.txt').write_text('\n'.join(lines[:-3]))
  (small / 'kitti' / 'images' / '5.png').write_bytes(b'\x89PNG\r\n')
  (small / 'caltech101' / 'val200.txt').unlink()
  names = (*SMALL, 'svhn', 'diabetic_retinopathy')
  assert prepare.run(select(small, *names)) == 1
  out, err = capsys.readouterr()
  assert "dtd: the split 'test' has 1,877 images, not 1,880" in out
  assert "kitti: image 5 of 'train800' (" in out and '5.png) cannot be' in out
  assert "kitti: and 97 more images of 'train800'" in out
  assert "caltech101: " in out and "no split 'val200'" in out
  assert 'svhn: the TFDS dataset svhn_cropped is not prepared in' in out
  assert 'It needs an account: accept the terms of kaggle.com' in out
  assert 'a ready VTAB-1k folder' in out
  # The one that is whole is ready, and the network was tried once.
  assert out.count(': ready: ') == 1 and asked == [1]
  assert '[4/6] oxford_iiit_pet: ready: ' in out and '] dtd: wrong: ' in out
  assert '] svhn: missing\n' in out
  assert '5 of 6 tasks cannot be run' in err
  assert 'oxford_iiit_pet' not in err


@pytest.fixture
def datasets(tmp_path):
  """Four tasks as TFDS datasets: a whole one, and three to be wrong."""
  for name, version, splits in (
      ('dtd', '3.0.1', dict.fromkeys(('train', 'validation', 'test'), 1880)),
      ('oxford_iiit_pet', '3.2.0', {'train': 3680, 'test': 3669}),
      ('oxford_flowers102', '2.1.1', {
          'train': 1020, 'validation': 1020, 'test': 6000}),
      ('kitti', '3.2.0', {'train': 2, 'validation': 2, 'test': 2})):
    key, value = ('objects', []) if name == 'kitti' else ('label', 0)
    made.dataset(tmp_path, name, version, {
        split: [{key: value}] * size for split, size in splits.items()})
  return tmp_path


def test_one_of_each_kind_of_fault_of_datasets(datasets, monkeypatch, capsys):
  monkeypatch.setattr(fetching, 'has_tensorflow', lambda: False)
  # A count that is wrong, another that gives no split, a damaged file, and a
  # task that is not there.
  [file] = (datasets / 'dtd').rglob('*train.array_record*')
  content = bytearray(file.read_bytes())
  content[70_000:70_400] = bytes(400)
  file.write_bytes(content)
  names = ('oxford_flowers102', 'kitti', 'dtd', 'svhn', 'oxford_iiit_pet')
  assert prepare.run(select(datasets, *names)) == 1
  out, err = capsys.readouterr()
  rows = {row.name: f'] {row.name}: ' for row in tasks.ROWS}
  assert rows['oxford_flowers102'] + 'wrong: tfds/oxford_flowers102/' in out
  assert "the split 'test' has 6,000 images, not 6,149" in out
  assert rows['kitti'] + 'wrong\n' in out and 'There are: ' in out
  assert rows['dtd'] + 'wrong: ' in out and f'{file} is damaged (' in out
  assert rows['svhn'] + 'missing\n' in out
  assert rows['oxford_iiit_pet'] + 'ready: ' in out and out.count(
      ': ready: ') == 1
  assert '4 of 5 tasks cannot be run' in err and 'pet' not in err


def test_lists_that_do_not_belong_together(small):
  path = small / 'dtd' / 'train800val200.txt'
  lines = path.read_text().splitlines()
  path.write_text('\n'.join([*lines[:-1], lines[0]]))
  [task] = select(small, 'dtd')
  assert "does not hold the images of 'train800'" in check(task).problems[0]


def test_more_and_fewer_classes_than_there_are(small):
  [task] = select(small, 'dtd')
  more, fewer = (
      check(task._replace(classes=n), read=False) for n in (46, 48))
  assert more.problems == ('there are 47 classes, not 46',)
  assert not fewer.problems and fewer.notes == (
      '47 classes are named or seen, of 48',)


def test_every_bundled_task_is_what_it_was():
  """The same pixels and labels on any machine; two in full, all in number."""
  for task in suites.select('bundled', '', ()):
    full = task.name in ('digits', 'sprite_x')
    found = check(task, read=full)
    assert not found.problems and found.classes == task.classes
    assert found.sizes[:3] == (800, 200, 1000) and task.digests
    if full:
      assert found.digests == task.digests


def test_suites_and_tasks_that_are_not(tmp_path):
  with pytest.raises(data.DataError, match='choose one of vtab, bundled'):
    suites.select('all', '', ())
  with pytest.raises(data.DataError, match='the suite bundled has digits,'):
    suites.select('bundled', '', ('digit',))
  with pytest.raises(data.DataError, match='holds no ready task'):
    suites.select('folder', str(tmp_path), ())


def test_a_folder_of_another_name(ready, tmp_path):
  os.symlink(ready / 'cifar', tmp_path / 'cifar100')
  [task] = select(tmp_path, 'cifar')
  assert task.data['name'] == 'vtab'
  [task] = suites.select('folder', str(tmp_path), ())
  assert (task.name, task.group) == ('cifar100', 'natural')


@pytest.mark.parametrize('arguments, words', [
    (('prepare', '--suite=nothing'), "--suite='nothing' is none"),
    (('begin',), 'python -m lst.vtab COMMAND'),
    (('report', '--workdir=nowhere'), 'nowhere holds no runs of a suite'),
])
def test_the_command_says_what_is_wrong(arguments, words, tmp_path):
  done = commands.Command('lst.vtab', *arguments, cwd=tmp_path).ended(600)
  assert done.returncode in (1, 2) and words in done.stderr
