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
    'texture': NATURAL, 'pattern': NATURAL, 'glyph': NATURAL,
    'clutter': NATURAL,
    # Pictures that no common camera takes.
    'settlement': SPECIALIZED, 'cells': SPECIALIZED, 'pulse': SPECIALIZED,
    # How many, where, which way.
    'count': STRUCTURED, 'distance': STRUCTURED, 'sprite_x': STRUCTURED,
    'sprite_angle': STRUCTURED, 'azimuth': STRUCTURED, 'elevation': STRUCTURED,
}
_SPLITS = Splits('train[:800]', 'train[800:]', 'train', 'test')
# Of the images and labels of (the 1,000, the test): the same on any machine.
DIGESTS: dict[str, tuple[str, str]] = {
    'digits': (
        '9a481a7f4bca0d35e29b38077051d6b0',
        '5573e4582eb35e9a94245c2e19d1d1ee'),
    'texture': (
        '14f47736ff799df7b4d5bb1366ba3185',
        '40e2cfeb3e839c0b3177790f522cae18'),
    'pattern': (
        '2f996ddcb81ec94c208dcac844b7891f',
        '47d9f494affe99e2b6f3d0797c5beb3a'),
    'glyph': (
        'addc3a6c82f9eeed9d92b99875d2b270',
        '298c265c0a2e966f86f971ad6967aa8b'),
    'clutter': (
        '3010ba0a628876eb18258a11469d4b7f',
        '050d7195b8309ca53c948b742e5dfe6d'),
    'settlement': (
        '5c6a73cede3b21c3851a9ebbdab6bbce',
        '7dcd5ce47dbb6d001566c8d2e6c0bbd9'),
    'cells': (
        'f182cfe79b8c46b2b4413d4d93d60c95',
        'ecf4ab38e70ae1171c9367cebbcc254f'),
    'pulse': (
        '4c1670ee524e5d267f1e699924c55bb1',
        'be25c6131f4be2d56d05372c4126d01d'),
    'count': (
        '6e519f997dbd2ecd7e26b47c598e7583',
        'a8747c26af57fd1f1307e31f731b1bcb'),
    'distance': (
        'f5d800c79fdf1944de82eee26a279988',
        '47677cb3cac519e2abb527f113d265ac'),
    'sprite_x': (
        'd71a1df5da60ea5ac3589547a3cdc4a6',
        '942ea0d78660517036a0ded203934233'),
    'sprite_angle': (
        '28eb244d315af3017c71dfb60fad6b6c',
        'ed82afc85526abe636a16f9f2c9e9220'),
    'azimuth': (
        '58d68f2d59c422c62c8f11d8dc2dd09c',
        '45c6594c71cd4c86dd885d0392feef80'),
    'elevation': (
        '7f95fd542354f1df2b5f031497f4d098',
        'f206a4bfb916e3ebdec52a0c1a4c9b3c'),
}


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
