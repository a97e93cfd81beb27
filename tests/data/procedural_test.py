"""Tasks drawn by code."""

import hashlib

import numpy as np
import pytest
import scipy.ndimage
from sklearn.linear_model import LogisticRegression

from lst import data
from lst.data import procedural
from lst.data.procedural.canvas import background
from lst.data.procedural.dice import Dice

TASKS = sorted(procedural.TASKS)
CHECKSUMS = {
  'azimuth': 'f53d088e3778361c',
  'cells': '2b4c75211fd02f65',
  'clutter': '4a5d3fd61c6c77b5',
  'count': 'a3cd4d91ed59d8fc',
  'distance': '17b4def9b8c7c786',
  'elevation': '878689085120884b',
  'glyph': '4e71f5cc0007e5c5',
  'location': 'bbf0b0c8be2cd9dd',
  'orientation': 'b074817efb533832',
  'pattern': '1b8e3165ebde2734',
  'pulse': '014a1247984012bc',
  'relation': '1559e47cc8ef53fb',
  'settlement': '2ffc0e13b7d58ab2',
  'shape': 'b100ae6e4e6d68f5',
  'sprite_angle': '1a747d57c54f4101',
  'sprite_x': 'f4949bdc3f7418b5',
  'texture': 'e44897f88d4de4e7',
}


@pytest.mark.parametrize('task', TASKS)
def test_the_drawings_are_what_they_were(task):
  """Published figures are on these very bits."""
  digest = hashlib.sha256()
  for split in procedural.SIZES:
    for index in (0, 1, 2, 3, 5, 8, 13, 250, 499):
      image, label = procedural.draw(task, split, index)
      assert image.shape == (64, 64, 3) and image.dtype == np.uint8
      digest.update(image.tobytes() + bytes([label]))
  assert digest.hexdigest()[:16] == CHECKSUMS[task]


@pytest.mark.parametrize('task', TASKS)
def test_an_example_depends_on_its_name_alone(task):
  image, label = procedural.draw(task, 'train', 7)
  procedural.draw(task, 'train', 8)
  again = procedural.draw(task, 'train', 7)
  assert np.array_equal(image, again.image) and label == again.label
  for other in (('train', 7 + 16), ('val', 7), ('test', 7)):
    assert not np.array_equal(image, procedural.draw(task, *other).image)


@pytest.mark.parametrize('task', TASKS)
def test_sizes_and_balance(task, make_config):
  built = data.build(make_config(name='procedural', task=task, val='val'))
  sizes = [x.size for x in (built.train, built.val, built.test)]
  assert sizes == [1000, 500, 2000]
  assert built.name == f'procedural/{task}'
  classes = len(built.classes)
  labels = np.arange(1000) % classes
  for index in (0, 1, 17, 999):
    assert built.train.source[index].label == labels[index]
  counts = np.bincount(labels)
  assert len(counts) == classes and counts.max() - counts.min() <= 1


@pytest.mark.parametrize('task', TASKS)
def test_colours_do_not_tell_the_class(task):
  """Linear on the mean and spread of each channel stays near chance."""

  def statistics(split, number):
    examples = [procedural.draw(task, split, i) for i in range(number)]
    images = np.stack([x.image for x in examples]).astype(np.float64) / 255
    spread = np.concatenate([images.mean((1, 2)), images.std((1, 2))], 1)
    return spread, [x.label for x in examples]

  fitted = LogisticRegression(max_iter=200).fit(*statistics('train', 100))
  chance = 1 / len(procedural.TASKS[task].classes)
  # What is near is large: of the distance, colours tell a little.
  margin = 0.13 if task == 'distance' else 0.09
  assert fitted.score(*statistics('test', 100)) < chance + margin


def test_there_are_as_many_objects_as_counted():
  """What differs from the background, which is drawn first, has n parts."""
  task = procedural.TASKS['count']
  for label in range(8):
    for key in 'abcde':
      ground = background(Dice(key)).astype(np.uint8)
      changed = (task.draw(Dice(key), label) != ground).any(-1)
      assert scipy.ndimage.label(changed, np.ones((3, 3)))[1] == label + 1


def test_the_sprite_is_in_its_cell():
  """Two drawings from the same dice differ in their two cells alone."""
  task = procedural.TASKS['location']
  for label in range(8):
    images = [task.draw(Dice('a'), x) for x in (label, 15 - label)]
    changed = (images[0] != images[1]).any(-1)
    for cell in (label, 15 - label):
      top, left = (8 + 12 * place for place in divmod(cell, 4))
      assert changed[top : top + 12, left : left + 12].any()
      changed[max(0, top - 9) : top + 21, max(0, left - 9) : left + 21] = False
    assert not changed.any()


def test_an_unknown_task_names_the_nearest(make_config):
  with pytest.raises(data.DataError, match=r"count, .* Did you mean 'shape'"):
    data.build(make_config(name='procedural', task='shapes'))
