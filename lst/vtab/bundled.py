"""The bundled suite: fourteen tasks that need nothing but the package.

Real digits, and tasks drawn by code in VTAB's three groups, under its protocol:
800 / 200 / 1,000 images to train, one test. The embedded backbone has seen none
of their kind: it was trained on photos alone.
"""

from lst.data import procedural
from lst.data.digits import CLASSES
from lst.vtab.task import NATURAL, SPECIALIZED, STRUCTURED, Splits, Task
from lst.vtab.tasks import fields

TEST = 1000
GROUP_OF = {
    # What it is: textures, the order of colours, characters, outlines.
    'texture': NATURAL, 'pattern': NATURAL, 'glyph': NATURAL, 'shape': NATURAL,
    # Pictures that no common camera takes.
    'settlement': SPECIALIZED, 'cells': SPECIALIZED, 'pulse': SPECIALIZED,
    # How many, where, which way.
    'count': STRUCTURED, 'distance': STRUCTURED, 'sprite_x': STRUCTURED,
    'sprite_angle': STRUCTURED, 'azimuth': STRUCTURED, 'elevation': STRUCTURED,
}
_SPLITS = Splits('train[:800]', 'train[800:]', 'train', 'test')
# Of the images and labels of (the 1,000, the test): the same on any machine.
DIGESTS: dict[str, tuple[str, str]] = {}


def bundled() -> tuple[Task, ...]:
  """The tasks, digits first."""
  digits = Task(
      'digits', NATURAL, len(CLASSES), 797, _SPLITS, fields(name='digits'),
      digests=DIGESTS.get('digits'))
  return (digits, *(
      Task(
          name, group, len(procedural.TASKS[name].classes), TEST,
          _SPLITS._replace(test=f'test[:{TEST}]'),
          fields(name='procedural', task=name), digests=DIGESTS.get(name))
      for name, group in GROUP_OF.items()))
