"""The one schema of every option: its default and its meaning, locked.

A config file starts from `default()`, changes what it needs and returns it;
see `configs/`. A field that is not here cannot be set.
"""

import re
from typing import Any

from ml_collections import ConfigDict

from lst import config_video

# What else is in the folder of a run of several tasks.
_TAKEN = ('checkpoints', 'tensorboard')


def default() -> ConfigDict:
  """Every option with its default, locked.

  Numbers of epochs may be fractions. '' means none, unless said otherwise.
  """
  config = ConfigDict()
  # Of the initial parameters and of the order of the data.
  config.seed = 0
  # What is trained: a key of `lst.method.METHODS`.
  config.method = 'side'
  config.data = data()
  # Several tasks in place of `data`, trained in one pass of the backbone:
  # config.tasks.digits = data(), a whole data config under each name.
  config.tasks = ConfigDict()
  config.backbone = _backbone()
  config.cache = _cache()
  config.side = _side()
  config.optimizer = _optimizer()
  config.train = _train()
  config.sweep = _sweep()
  config.lock()
  config.tasks.unlock()
  return config


def flat(config: ConfigDict, prefix: str = '') -> dict[str, Any]:
  """{'optimizer.lr': 0.001, ...} of a config."""
  out = {}
  for name in sorted(config):
    value = config[name]
    if isinstance(value, ConfigDict):
      out.update(flat(value, f'{prefix}{name}.'))
    else:
      out[prefix + name] = value
  return out


def order_seed(config: ConfigDict) -> int:
  """The seed of the order of the training examples."""
  return config.seed if config.data.seed < 0 else config.data.seed


def check(config: ConfigDict) -> None:
  """Raises ValueError unless `config` has the fields of `default()`, no other.
  """
  known = flat(default())
  for name in config.tasks:
    _check_task(name, config.tasks[name])
    known |= {f'tasks.{name}.{field}': value for field, value in flat(
        data()).items()}
  there = flat(config)
  wrong = sorted(known.keys() ^ there.keys())
  if wrong:
    start = 'data' if wrong[0].startswith('tasks.') else 'default'
    raise ValueError(
        f'the config {"lacks" if wrong[0] in known else "has an unknown field"}'
        f' {wrong[0]}: start from lst.config.{start}() and only change values')


def _check_task(name: str, value: Any) -> None:
  """Raises ValueError unless a task is a data config under a folder's name."""
  if not isinstance(value, ConfigDict):
    raise ValueError(
        f'config.tasks.{name}={value!r} is no data config: write '
        f'config.tasks.{name} = lst.config.data(), then change its fields')
  if not re.fullmatch(r'\w[\w-]*', name) or name in _TAKEN:
    raise ValueError(
        f'config.tasks has {name!r}, which cannot be a folder of its own in '
        'that of the run: use letters, digits, _ and -, and none of '
        f'{", ".join(_TAKEN)}')


def data() -> ConfigDict:
  """The part of a config that names data, with its defaults, locked."""
  out = ConfigDict(dict(
      # digits, tfds, folder, vtab, csv or procedural; of videos motion,
      # video_folder or video_csv.
      name='digits',
      # tfds: data folder ('' = $TFDS_DATA_DIR); folder, vtab: the folder; csv:
      # the file; motion: where it is written ('' = ~/.cache/lst/motion).
      path='',
      # tfds: name[/config][:version]; vtab: a folder below path; procedural:
      # count, orientation, location, shape or relation.
      task='',
      # File of class names, one a line; '' = the source's own.
      classes='',
      # Names of the features of a TFDS dataset.
      image_key='image',
      label_key='label',
      # Splits, sliced and added as in TFDS: 'train[:800]+val'.
      train='train',
      val='',
      test='test',
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
      video=config_video.video(),
  ))
  return out.lock()


def _backbone() -> ConfigDict:
  return ConfigDict(dict(
      # A known name ('embedded', 'vit_b16_in21k', 'dinov2_b14', ...), a file, a
      # folder, or hf://org/name.
      weights='embedded',
      # Side in pixels that images are resized to; 0 = the checkpoint's own.
      image_size=0,
      # bfloat16 or float32: of the frozen pass and its features.
      dtype='bfloat16',
      # Mean and std of the inputs: backbone (the checkpoint's own), half
      # (0.5, 0.5) or imagenet.
      normalisation='backbone',
  ))


def _cache() -> ConfigDict:
  return ConfigDict(dict(
      # Of the backbone's features: disk, ram, off, or auto, which estimates
      # bytes and seconds, chooses, and says why.
      mode='auto',
      # Folder of all caches; '' = $LST_CACHE, else ~/.cache/lst/features.
      path='',
      # exact, int8 (per channel), or projected (on `rank` directions).
      form='exact',
      rank=64,
  ))


def _side() -> ConfigDict:
  return ConfigDict(dict(
      # losa or linear.
      name='losa',
      # cls, mean, patches (mean without CLS and registers), or auto: cls
      # where the checkpoint has one, else mean.
      pool='auto',
      # frozen (the checkpoint's final norm on the refined tokens) or none.
      norm='frozen',
      # Of LoSA, see `lst.LowRank`.
      rank=8,
      residual='running',
      # Blocks at the start of the backbone without a mixer.
      skip=0,
      first='channel',
      token_mixing=True,
      # Of videos: whether mixers of time take turns with those of channels and
      # tokens. These are then those of one frame.
      time_mixing=True,
      activation='gelu',
      alpha=1.0,
      use_bias=False,
      tap_norm=False,
  ))


def _optimizer() -> ConfigDict:
  return ConfigDict(dict(
      # Peak of the rate of AdamW; warmed up, then cosine to zero.
      lr=1e-3,
      warmup_epochs=10.0,
      weight_decay=1e-4,
      b1=0.9,
      b2=0.999,
      # Norm that gradients are clipped to; 0 = not.
      clip_norm=0.0,
      # Batches whose gradients are averaged into one update.
      accumulate=1,
      label_smoothing=0.0,
  ))


def _train() -> ConfigDict:
  return ConfigDict(dict(
      epochs=100.0,
      # Examples in a batch, over all hosts and devices.
      batch_size=64,
      eval_batch_size=128,
      # Examples of a batch that go through at a time, to save memory: the
      # gradients are those of the whole batch; 0 = all.
      microbatch=0,
      # Validation and a checkpoint after every so many epochs.
      eval_epochs=1.0,
      # A checkpoint also after every so many steps; 0 = only with validation.
      checkpoint_steps=0,
      # Steps that each line of the metrics sums over.
      log_steps=50,
  ))


def _sweep() -> ConfigDict:
  """Values to try in all combinations, trained together on the same features.

  () = the field's own value alone. Flags: --config.sweep.lr='(1e-3, 3e-3)'.
  """
  return ConfigDict(dict(
      # Of config.optimizer.
      lr=(),
      weight_decay=(),
      # Of config.side.
      rank=(),
      alpha=(),
      skip=(),
      # Seeds of the initial parameters; the order of the data is one for all.
      seed=(),
      # Successive halving: at each rung the best 1 / halving of the runs go on;
      # 0 = all runs go to the end.
      halving=0,
      # Runs trained at the same time; 0 = as many as memory allows.
      chunk=0,
  ))
