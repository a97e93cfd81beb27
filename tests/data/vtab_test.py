"""Ready VTAB folders."""

import pytest

from lst import data


@pytest.fixture
def folder(tmp_path, write_image):
  """A task of 2 classes whose lists repeat a few images."""
  task = tmp_path / 'tasks' / 'toys'
  for i in range(4):
    write_image(task / 'images' / f'{i} a.png', i)
  line = [f'images/{i} a.png {i % 2}\n' for i in range(4)]
  (task / 'train800.txt').write_text(''.join(line * 200))
  (task / 'val200.txt').write_text(''.join(line * 50))
  (task / 'train800val200.txt').write_text(''.join(line * 250))
  (task / 'test.txt').write_text(''.join(line[::-1]))
  (task / 'classes.txt').write_text('cat\ndog\n')
  return task


def vtab(make_config, path, **fields):
  # The lists of these tests name four images again and again.
  fields = {
    'train': 'train800', 'val': 'val200', 'allow_overlap': True, **fields}
  return data.build(make_config(name='vtab', path=path, **fields))


def test_lists_become_splits(folder, make_config):
  built = vtab(make_config, folder)
  assert (built.train.size, built.val.size, built.test.size) == (800, 200, 4)
  assert built.classes == ('cat', 'dog') and built.name == 'vtab/toys'
  batch = next(data.eval_batches(built.test, batch_size=4, image_size=2))
  assert batch.label.tolist() == [1, 0, 1, 0]
  assert batch.inputs[:, 0, 0, 0].tolist() == [3, 2, 1, 0]


def test_the_same_file_in_two_lists_is_one_example(folder, make_config):
  with pytest.raises(
    data.DataError,
    match=r"train='train800' and config\.data\.val='val200' share 4 examples"):
    vtab(make_config, folder, allow_overlap=False)


def test_the_task_may_be_named_below_the_path(folder, make_config):
  built = vtab(make_config, folder.parent, task='toys')
  assert built.name == 'vtab/toys'
  with pytest.raises(data.DataError, match=r"Tasks there: toys. .*mean 'toys'"):
    vtab(make_config, folder.parent, task='toy')
  with pytest.raises(data.DataError, match=r'train800val200\.txt'):
    vtab(make_config, folder / 'images')


def test_without_names_the_classes_are_numbers(folder, make_config):
  (folder / 'classes.txt').unlink()
  assert vtab(make_config, folder).classes == ('0', '1')
  names = folder / 'other.txt'
  names.write_text('a\nb\nc\n')
  assert vtab(make_config, folder, classes=names).classes == ('a', 'b', 'c')


def test_an_unknown_split_names_the_nearest(folder, make_config):
  with pytest.raises(data.DataError, match=r"no split 'train80'.*'train800'"):
    vtab(make_config, folder, train='train80')


def test_missing_folders(tmp_path, make_config):
  with pytest.raises(data.DataError, match=r'needs config\.data\.path'):
    vtab(make_config, '')
  with pytest.raises(data.DataError, match=r'nowhere does not exist'):
    vtab(make_config, tmp_path / 'nowhere')
  (tmp_path / 'file').touch()
  with pytest.raises(data.DataError, match=r'is a file'):
    vtab(make_config, tmp_path / 'file')


@pytest.mark.parametrize(
  'line, message',
  [
    ('images/0 a.png', r"line 3, 'images/0 a.png', is not a path and a label"),
    ('images/0.png 1.5', r'line 3, .* is not a path and a label'),
    ('7', r'line 3, .* is not a path and a label'),
    ('images/0 a.png -1', r'line 3, .* is not a path and a label'),
    ('images/0 a.png 2', r'line 3, .* outside 0 to 1, as there are 2 class'),
    ('images/9 a.png 1', r'line 3, .* there is no file .*images/9 a.png'),
  ],
)
def test_a_malformed_line_is_named(folder, make_config, line, message):
  path = folder / 'train800.txt'
  lines = path.read_text().splitlines()
  path.write_text('\n'.join([*lines[:2], line, *lines[3:]]))
  with pytest.raises(data.DataError, match=rf'train800\.txt, {message}'):
    vtab(make_config, folder)


def test_lists_have_the_length_that_they_are_named_for(folder, make_config):
  path = folder / 'train800.txt'
  path.write_text('\n'.join(path.read_text().splitlines()[:-1]))
  with pytest.raises(data.DataError, match='lists 799 images, not 800'):
    vtab(make_config, folder)


def test_an_empty_list(folder, make_config):
  (folder / 'test.txt').write_text('\n')
  with pytest.raises(data.DataError, match='lists 0 images, not one or more'):
    vtab(make_config, folder)


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'names no class'),
    ('cat\n\ndog\n', 'line 2, is empty'),
    ('cat\ncat\n', r"the class 'cat' twice, in lines 1 and 2"),
  ],
)
def test_malformed_class_names(folder, make_config, text, message):
  (folder / 'classes.txt').write_text(text)
  with pytest.raises(data.DataError, match=rf'classes\.txt.* {message}'):
    vtab(make_config, folder)


def test_a_missing_file_of_class_names(folder, make_config):
  with pytest.raises(data.DataError, match=r'none\.txt.*cannot be read'):
    vtab(make_config, folder, classes=folder / 'none.txt')
