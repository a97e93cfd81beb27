"""CSV files of paths and labels."""

import pytest

from lst import data


@pytest.fixture
def table(tmp_path, write_image):
  for i in range(4):
    write_image(tmp_path / f'im, {i}.png', i)

  def write(text):
    path = tmp_path / 'table.csv'
    path.write_text(text, encoding='utf-8')
    return path

  return write


def build(make_config, path, **fields):
  return data.build(make_config(name='csv', path=path, **fields))


def test_names_and_splits(table, make_config, tmp_path):
  path = table(
    'label,path,split\n'
    'dog,"im, 1.png",train\n'
    f'cat,"{tmp_path}/im, 0.png",train\n'
    'dog,"im, 3.png",test\n'
  )
  built = build(make_config, path)
  assert built.name == 'csv/table' and built.classes == ('cat', 'dog')
  batch = next(data.eval_batches(built.train, batch_size=2, image_size=1))
  assert batch.label.tolist() == [1, 0]
  assert batch.inputs[:, 0, 0, 0].tolist() == [1, 0]
  assert built.test.source[0].label == 1


def test_numbers_without_a_split(table, make_config):
  path = table('\ufeffpath,label\r\n"im, 1.png",2\r\n"im, 0.png",0\r\n')
  built = build(make_config, path, train='all', test='')
  assert built.classes == ('0', '1', '2')
  assert [built.train.source[i].label for i in range(2)] == [2, 0]


def test_a_file_of_names_bounds_the_labels(table, make_config, tmp_path):
  names = tmp_path / 'names.txt'
  names.write_text('cat\ndog\n')
  options = {'train': 'all', 'test': '', 'classes': names}
  path = table('path,label\n"im, 0.png",1\n')
  assert build(make_config, path, **options).classes == ('cat', 'dog')
  path = table('path,label\n"im, 0.png",1\n"im, 1.png",2\n')
  message = r"line 3: the label '2' is not among the 2 classes.* 0 to 1"
  with pytest.raises(data.DataError, match=message):
    build(make_config, path, **options)
  path = table('path,label\n"im, 0.png",dogs\n')
  with pytest.raises(data.DataError, match=r"line 2.*'dogs'.*mean 'dog'"):
    build(make_config, path, **options)


def test_numbers_that_are_names(table, make_config, tmp_path):
  names = tmp_path / 'names.txt'
  names.write_text('2\n0\n1\n')
  path = table('path,label\n"im, 0.png",2\n"im, 1.png",0\n"im, 2.png",1\n')
  built = build(make_config, path, train='all', test='', classes=names)
  assert [built.classes[built.train.source[i].label] for i in range(3)] == [
    '2', '0', '1']


def test_slices_of_a_list_that_is_sorted_by_class(table, make_config):
  path = table(
    'path,label\n' + ''.join(f'"im, {i}.png",{i // 3}\n' for i in range(4)))
  with pytest.raises(data.DataError, match=r"'all\[3:\]' have no class in com"):
    build(make_config, path, train='all[:3]', test='all[3:]')
  built = build(make_config, path, train='all[:2]+all[3:]', test='all[2:3]')
  assert built.test.size == 1


@pytest.mark.parametrize(
  'text, message',
  [
    ('', r'line 1: no column label or path'),
    ('path,class\n', r"line 1: no column label, .*'class'"),
    ('path,label\n', 'lists no file'),
    ('path,label\n"im, 0.png",1\n"im, 1.png"\n', 'line 3: more or fewer'),
    ('path,label\nim, 0.png,1\n', 'line 2: more or fewer'),
    ('path,label\n"im, 0.png",\n', r"line 2: .*label ''.*none may be empty"),
    ('path,label\n"im, 0.png",-1\n', r"line 2: .*'-1'.* counts from 0"),
    ('path,label\n"im, 0.png",9999999\n', 'has the label 9999999'),
    ('path,label\n"im, 7.png",1\n', r'line 2: there is no file .*im, 7\.png'),
    ('path,label\n"im, 0.png,1\n', 'no well-formed CSV'),
  ],
)
def test_malformed_tables(table, make_config, text, message):
  with pytest.raises(data.DataError, match=message):
    build(make_config, table(text), train='all', test='')


def test_a_missing_table(make_config, tmp_path):
  with pytest.raises(data.DataError, match=r"no file '.*gone\.csv'"):
    build(make_config, tmp_path / 'gone.csv')
