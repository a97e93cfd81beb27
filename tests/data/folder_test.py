"""Images in a folder per class."""

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
  assert batch.label.tolist() == [0, 0, 1, 1]
  assert batch.inputs[:, 0, 0, 0].tolist() == [0, 1, 10, 11]


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
  assert [built.test.source[i].label for i in range(4)] == [2, 2, 0, 0]
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
