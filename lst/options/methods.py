"""Options of what is trained."""

from ml_collections import ConfigDict


def side() -> ConfigDict:
  """The network beside the backbone, and the head of every method."""
  return ConfigDict(dict(
      # losa, lst, last, attentive or linear; of videos losa, lst, attentive,
      # linear or side4video.
      name='losa',
      # cls, mean, patches (mean without CLS and registers), or auto: cls
      # where the checkpoint has one, else mean.
      pool='auto',
      # frozen (the checkpoint's final norm on the refined tokens) or none.
      norm='frozen',
      # State (0 to 2L) that each block of the side network reads, in any order
      # and the last one at the end; () = that after every block.
      taps=(),
      # What taps are kept as between the frozen pass and the side step: exact,
      # int8 (a scale for each token), or none, which runs the pass once more
      # for the gradient; see `lst.taps`. With the last two no cache is used.
      keep='exact',
      # Of LoSA, see `lst.LowRank`; the rank also of LAST.
      rank=8,
      # running, figure (as the paper draws it) or sum.
      residual='sum',
      # Blocks at the start of the backbone without a mixer or side block.
      skip=0,
      first='channel',
      token_mixing=True,
      # Of videos: whether LoSA's mixers of time take turns with those of
      # channels and tokens, which are then those of one frame; of LST and the
      # attentive probe, whether they tell the frames apart.
      time_mixing=True,
      activation='gelu',
      alpha=1.0,
      use_bias=False,
      tap_norm=False,
      # Of LST and Side4Video, see `lst.Ladder`.
      reduction=8,
      add_last=False,
      # Of the attentive probe; 0: the most, up to 12, that divide the width.
      heads=0,
  ))


def tuning() -> ConfigDict:
  """Of methods that back-propagate; pool and norm are those of `side`."""
  return ConfigDict(dict(
      # Rematerialise each block in the backward pass: its memory for its time.
      remat=False,
      lora=dict(rank=8, scale=1.0, targets='qv'),
      vpt=dict(tokens=10),
      adaptformer=dict(rank=8, scale=0.1),
      parallel=dict(rank=8, scale=1.0, where='both'),
      sequential=dict(rank=8, scale=1.0, where='both'),
      # Kernel: frames, rows and columns that the convolution spans.
      st_adapter=dict(rank=384, kernel=(3, 1, 1), where='both'),
  ))


def placement() -> ConfigDict:
  """Of the method 'placed'; its head is that of the side."""
  return ConfigDict(dict(
      # (source, target) of each adapter, among the states 0 to 2L;
      # () = one beside each of the 2L layers.
      edges=(),
      # Of each adapter: see `lst.placement.Adapter`. Rank 0 is the control
      # that trains nothing, `lst.placement.Unlearned`.
      rank=8,
      alpha=1.0,
  ))


def search() -> ConfigDict:
  """Of `python -m lst.search`, which finds edges for a placement."""
  return ConfigDict(dict(
      # edges (for adapters), or taps (of the side network, free of backprop).
      what='edges',
      # gga, top, random, first, last, parallel, sequential or given
      # (the placement's own edges); of taps gga alone.
      selection='gga',
      # Edges or taps to choose, at most.
      count=12,
      # srank, stable_rank, entropy_rank, nuclear, frobenius or spectral.
      score='srank',
      # Of srank: the part of the sum of singular values that is left out.
      eta=0.01,
      # Batches of training examples that are scored, and examples in each.
      batches=4,
      batch_size=64,
      # Passes over the training data that the head (for taps, the side network)
      # is trained for first; its warm-up is the part of them that
      # optimizer.warmup_epochs is of train.epochs.
      probe_epochs=10.0,
      # Of gga: an edge chosen k steps away leaves 1 - gamma^k of a score.
      gamma=0.6,
      # Of gga, for edges: steps that the chosen adapters are trained for ahead
      # of scoring anew, after each choice; 0 = scores are taken once.
      rescore_steps=0,
      # Of gga and top, for edges: a score is divided by 1 + cost x the extra
      # forward passes that its edge would bring.
      cost=0.0,
      # Of gga, for edges: ends at a score below this part of the first; 0 = at
      # `count`.
      least=0.0,
  ))
