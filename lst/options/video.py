"""The options of videos: which frames, which windows, what may be broken."""

from ml_collections import ConfigDict


def video() -> ConfigDict:
  """Of sources of videos alone."""
  return ConfigDict(dict(
      # Of a clip.
      frames=8,
      # uniform (one frame of each of so many equal parts of the video) or dense
      # (so many frames, `stride` apart).
      sampling='uniform',
      stride=4,
      # Pixels that the shorter side is brought to ahead of the window that the
      # backbone sees; 0 = no more than the window needs.
      short_side=0,
      # Views of a test, whose logits are averaged: moments, and windows (1 or
      # 3) of each.
      test_clips=1,
      test_crops=1,
      # Share of the videos of a split that may be unreadable: they are named in
      # the log, counted and skipped. One more stops the run.
      max_broken=0.01,
  ))
