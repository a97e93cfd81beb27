"""The optimizer and its schedule, from a config."""

import optax


def schedule(config, steps: int, steps_per_epoch: float) -> optax.Schedule:
  """Linear warm-up to `config.lr`, then cosine to zero at `steps`.

  Args:
    config: `lst.config.default().optimizer`.
    steps: optimizer updates of the whole run.
    steps_per_epoch: optimizer updates in a pass over the training data.
  """
  warmup = min(round(config.warmup_epochs * steps_per_epoch), steps - 1)
  return optax.warmup_cosine_decay_schedule(
      0.0, config.lr, warmup, max(steps, warmup + 1))


def build(
    config, steps: int, steps_per_epoch: float
) -> optax.GradientTransformation:
  """AdamW, with gradient clipping and accumulation where asked for.

  Args:
    config: `lst.config.default().optimizer`.
    steps: training steps (batches) of the whole run.
    steps_per_epoch: batches in a pass over the training data.

  Raises:
    ValueError: a field outside its range.
  """
  for field in ('lr', 'accumulate'):
    if not config[field] > 0:
      raise ValueError(
          f'config.optimizer.{field}={config[field]} has to be above 0')
  every = config.accumulate
  rate = schedule(config, max(steps // every, 1), steps_per_epoch / every)
  chain = []
  if config.clip_norm:
    chain.append(optax.clip_by_global_norm(config.clip_norm))
  chain.append(optax.adamw(
      rate, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay))
  optimizer = optax.chain(*chain)
  if every > 1:
    optimizer = optax.MultiSteps(optimizer, every).gradient_transformation()
  return optimizer
