"""Images in a folder per class."""

import os

import pytest

from lst import data


@pytest.fixture
def folder(tmp_path, write_image):
  root = tmp_path / 'pets'
  for split, number in (('train', 3), ('test', 2)):
    for label, name in enumerate(('cat', 'dog')):
      for i in range(number):
        write_image(root / split / name / f'{i}.png', 10 * label + i)
  return root


def build(make_config, path, **fields):
  return data.build(make_config(name='folder', path=path, **fields))


def test_splits_of_classes(folder, make_config):
  (folder / 'train' / 'cat' / '.hidden').touch()
  (folder / 'README').touch()
  built = build(make_config, folder)
  assert built.classes == ('cat', 'dog') and built.name == 'folder/pets'
  assert (built.train.size, built.test.size) == (6, 4)
  batch = next(data.eval_batches(built.test, batch_size=4, image_size=1))
  pixels = batch.inputs[:, 0, 0, 0].tolist()
  assert sorted(zip(batch.label.tolist(), pixels, strict=True)) == [
    (0, 0), (0, 1), (1, 10), (1, 11)]


def test_a_slice_has_its_share_of_each_class(
    tmp_path, write_image, make_config):
  """As the README cuts a folder of <class>/* into three parts."""
  for label, number in enumerate((20, 10, 30)):
    for i in range(number):
      write_image(tmp_path / f'class{label}' / f'{i:02}.png', i)
  built = build(
    make_config, tmp_path, train='all[:80%]', val='all[80%:90%]',
    test='all[90%:]')

  def labels(split):
    return [split.source[i].label for i in range(split.size)]

  assert [labels(built.train).count(k) for k in range(3)] == [16, 8, 24]
  for split in (built.val, built.test):
    assert [labels(split).count(k) for k in range(3)] == [2, 1, 3]
  # Not in the order of classes within a part of it.
  assert labels(built.train)[:6] != sorted(labels(built.train)[:6])
  # Of a class no part has the first names alone.
  names = {os.path.basename(built.train.source[i].image)
           for i in range(built.train.size) if labels(built.train)[i] == 2}
  assert names != {f'{i:02}.png' for i in range(24)}


def test_chance_is_not_told_from_order_where_there_are_few(
    tmp_path, write_image, make_config):
  for k in range(12):
    for i in range(2):
      write_image(tmp_path / f'{k:02}' / f'{i}.png', i)
  built = build(
    make_config, tmp_path, train='all[:8]', val='all[8:12]', test='all[12:]')
  assert built.train.size == 8


def test_classes_alone_are_the_split_all(folder, make_config):
  built = build(
    make_config, folder / 'train', train='all[:4]', test='all[4:]'
  )
  assert (built.train.size, built.test.size) == (4, 2)


def test_a_file_of_names_gives_the_order(folder, make_config, tmp_path):
  names = tmp_path / 'names.txt'
  names.write_text('dog\nbird\ncat\n')
  built = build(make_config, folder, classes=names)
  assert built.classes == ('dog', 'bird', 'cat')
  assert sorted(built.test.source[i].label for i in range(4)) == [0, 0, 2, 2]
  names.write_text('dog\ncats\n')
  with pytest.raises(data.DataError, match=r"'cat' is not in .*mean 'cats'"):
    build(make_config, folder, classes=names)


def test_an_empty_class(folder, make_config):
  (folder / 'test' / 'dog').rename(folder / 'dog')
  (folder / 'test' / 'dog').mkdir()
  (folder / 'dog').rename(folder.parent / 'dog')
  with pytest.raises(data.DataError, match='dog is a class without files'):
    build(make_config, folder)


def test_splits_that_differ_in_a_class(folder, make_config):
  (folder / 'test' / 'dog').rename(folder / 'test' / 'dogs')
  with pytest.raises(data.DataError, match=r"'test' and 'train' differ in the"
                     ' classes dog, dogs'):
    build(make_config, folder)


def test_a_file_that_is_no_image(folder, make_config):
  (folder / 'train' / 'cat' / 'notes.txt').touch()
  with pytest.raises(
      data.DataError, match=r'cat/notes\.txt has none of the endings'):
    build(make_config, folder)


def test_a_folder_without_classes(folder, make_config, tmp_path):
  (folder / 'val').mkdir()
  with pytest.raises(data.DataError, match='no class folders in val'):
    build(make_config, folder)
  (tmp_path / 'empty').mkdir()
  with pytest.raises(data.DataError, match='no class folders'):
    build(make_config, tmp_path / 'empty')
  with pytest.raises(data.DataError, match='does not exist'):
    build(make_config, tmp_path / 'gone')
