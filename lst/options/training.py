"""Options of how it is trained, and where."""

from ml_collections import ConfigDict


def optimizer() -> ConfigDict:
  """AdamW and its rate."""
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


def train() -> ConfigDict:
  """The loop."""
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
      # Steps that each line of the metrics sums over; a sweep has one line for
      # each validation, with the loss of the step before it.
      log_steps=50,
  ))


def mesh() -> ConfigDict:
  """Devices and hosts."""
  return ConfigDict(dict(
      # Devices that a batch is split over beside `fsdp`; -1 = all.
      data=-1,
      # Devices of a host that share the backbone, a block gathered at a time,
      # but for weights of fewer than `min_size` elements.
      fsdp=1,
      min_size=2**14,
      # Seconds to wait for all processes, and until a silent one is lost: then
      # the others stop in words, see `lst.vigil`.
      join_seconds=300,
      lost_seconds=60,
  ))


def sweep() -> ConfigDict:
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
