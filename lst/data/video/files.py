"""Videos in one folder per class, or listed in a CSV file."""

from lst.data import csv_file, folder
from lst.data.examples import Source
from lst.data.video import decode

SUFFIXES = (
  '.avi', '.flv', '.gif', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg',
  '.ogv', '.ts', '.webm', '.wmv',
)


def folder_source(path: str, classes: str = '') -> Source:
  """Videos laid out as <split>/<class>/* or <class>/*.

  The arguments and errors are those of `lst.data.folder.source`; DataError,
  too, where PyAV is not installed.
  """
  decode.require()
  return folder.source(path, classes, SUFFIXES)._replace(video=True)


def csv_source(path: str, classes: str = '') -> Source:
  """A table of videos: the columns path, label and, if you like, split.

  The arguments and errors are those of `lst.data.csv_file.source`; DataError,
  too, where PyAV is not installed.
  """
  decode.require()
  return csv_file.source(path, classes)._replace(video=True)
