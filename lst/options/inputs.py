"""Options of data, backbone and cache: what features are made of."""

from typing import Any

from ml_collections import ConfigDict

from lst.options import video


def data() -> ConfigDict:
  """The part of a config that names data, with its defaults, locked."""
  out = ConfigDict(dict(
      # digits, tfds, folder, vtab, csv or procedural; of videos motion,
      # video_folder, video_csv, video_tfds or something.
      name='digits',
      # tfds, video_tfds: data folder ('' = $TFDS_DATA_DIR); folder, vtab,
      # something: the folder; csv: the file; motion: where it is written ('' =
      # ~/.cache/lst/motion).
      path='',
      # tfds, video_tfds: name[/config][:version]; vtab: a folder below path;
      # procedural: count, location, ..., a key of `lst.data.procedural.TASKS`.
      task='',
      # folder, vtab, csv, video_folder, video_csv: file of class names, one a
      # line; '' = the source's own, as all others have.
      classes='',
      # Names of the features of a TFDS dataset.
      image_key='image',
      label_key='label',
      # tfds: how the label is calculated where it is no feature, a key of
      # `lst.data.readings.READINGS`; '' = it is label_key.
      reading='',
      # Splits, sliced and added as in TFDS: 'train[:800]+val'.
      train='train',
      val='',
      test='test',
      # Whether any two of train, val and test may share examples.
      allow_overlap=False,
      **_reading(),
      video=video.video(),
  ))
  return out.lock()


def _reading() -> dict[str, Any]:
  """Of data, how it is read."""
  return dict(
    # Of the order of the training examples; -1 = config.seed.
    seed=-1,
    # bilinear or bicubic (antialiased), bilinear_tf (TensorFlow's default).
    resize='bilinear',
    # none, flip (mirrored) or crop (a random window, mirrored or not): how
    # each example's views 1, 2, ... are made; view 0 is the plain image. Of
    # videos crop draws a moment and a window, flip mirrors some of them too.
    augment='none',
    # Fixed views of each example, of which an epoch shows one.
    views=1,
    # Threads that decode, and batches made ahead.
    workers=2,
    prefetch=4,
    # Decoded images are kept in memory if all fit into this many bytes.
    cache_bytes=2**31,
  )


def backbone() -> ConfigDict:
  """Where the frozen network comes from, and how it is run."""
  return ConfigDict(dict(
      # A known name ('embedded', 'vit_b16_in21k', 'dinov2_b14', ...), a file, a
      # folder, hf://org/name, or random:SIZE/PATCH ('random:e/14'; of clips
      # 'random:4ds_e/16x2').
      weights='embedded',
      # Side in pixels that images are resized to; 0 = the checkpoint's own.
      image_size=0,
      # bfloat16 or float32: of the frozen pass and its features.
      dtype='bfloat16',
      # Kernels of the blocks in int8, fp8 or int4; none = in dtype.
      quantise='none',
      # loop (compiled block by block), or one stack that a scan runs over, so
      # that compiling takes as long at any depth: on the device (scan) or
      # brought there from host memory block by block (host). Or files (disk),
      # made once of the checkpoint and read ahead block by block, so that
      # neither device nor host holds more than two blocks.
      blocks='loop',
      # Folder of those files; '' = $LST_BLOCKS, else ~/.cache/lst/blocks.
      blocks_path='',
      # Mean and std of the inputs: backbone (the checkpoint's own), half
      # (0.5, 0.5) or imagenet.
      normalisation='backbone',
  ))


def cache() -> ConfigDict:
  """Where the backbone's features are kept."""
  return ConfigDict(dict(
      # Of the backbone's features: disk, ram, off, or auto, which estimates
      # bytes and seconds, chooses, and says why.
      mode='auto',
      # Folder of all caches; '' = $LST_CACHE, else ~/.cache/lst/features.
      path='',
      # exact, int8 (per channel), or projected (on `rank` directions). What is
      # evaluated is in the form of training, also where it is not kept.
      form='exact',
      rank=64,
  ))
