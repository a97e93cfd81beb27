"""The optimizer and its schedule, from a config."""

import optax


def schedule(
    config, steps: int, steps_per_epoch: float, lr=None
) -> optax.Schedule:
  """Linear warm-up to `config.lr`, then cosine to zero at `steps`.

  Args:
    config: `lst.config.default().optimizer`.
    steps: optimizer updates of the whole run.
    steps_per_epoch: optimizer updates in a pass over the training data.
    lr: in place of `config.lr`; may be traced.
  """
  warmup = min(round(config.warmup_epochs * steps_per_epoch), steps - 1)
  shape = optax.warmup_cosine_decay_schedule(
      0.0, 1.0, warmup, max(steps, warmup + 1))
  lr = config.lr if lr is None else lr
  return lambda count: lr * shape(count)


def build(
    config, steps: int, steps_per_epoch: float, lr=None, weight_decay=None
) -> optax.GradientTransformation:
  """AdamW, with gradient clipping and accumulation where asked for.

  Args:
    config: `lst.config.default().optimizer`.
    steps: training steps (batches) of the whole run.
    steps_per_epoch: batches in a pass over the training data.
    lr, weight_decay: in place of the fields of these names; may be traced, so
      that many runs share one program.

  Raises:
    ValueError: a field outside its range.
  """
  _check(config, steps)
  warmup = round(config.warmup_epochs * steps_per_epoch)
  if warmup >= max(steps, 2):
    raise ValueError(
        f'config.optimizer.warmup_epochs={config.warmup_epochs} is not over '
        f'when the run is: {warmup} of {steps} steps. Lower it, or raise '
        'config.train.epochs')
  every = config.accumulate
  rate = schedule(config, steps // every, steps_per_epoch / every, lr)
  return at_rate(config, rate, weight_decay)


def at_rate(
    config, rate: optax.Schedule, weight_decay=None
) -> optax.GradientTransformation:
  """The same with any schedule: (updates so far) -> rate."""
  chain = []
  if config.clip_norm:
    chain.append(optax.clip_by_global_norm(config.clip_norm))
  chain.append(optax.adamw(
      rate, b1=config.b1, b2=config.b2,
      weight_decay=(
          config.weight_decay if weight_decay is None else weight_decay)))
  optimizer = optax.chain(*chain)
  if config.accumulate > 1:
    optimizer = optax.MultiSteps(
        optimizer, config.accumulate).gradient_transformation()
  return optimizer


def _check(config, steps: int) -> None:
  good = {
      'lr': (config.lr > 0, 'above 0'),
      'warmup_epochs': (config.warmup_epochs >= 0, '0 or more'),
      'weight_decay': (config.weight_decay >= 0, '0 or more'),
      'b1': (0 <= config.b1 < 1, 'from 0 to below 1'),
      'b2': (0 <= config.b2 < 1, 'from 0 to below 1'),
      'clip_norm': (config.clip_norm >= 0, '0 (not clipped) or more'),
      'accumulate': (
          1 <= config.accumulate <= steps, f'from 1 to the {steps} steps there '
          'are'),
      'label_smoothing': (0 <= config.label_smoothing < 1, 'from 0 to below 1'),
  }
  for field, (holds, range_) in good.items():
    if not holds:
      raise ValueError(
          f'config.optimizer.{field}={config[field]} has to be {range_}')
