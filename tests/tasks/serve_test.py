"""A mixed batch gets from each task's network what it gets alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lst
from lst import Features, config, export, side
from lst.backbones import backbone as backbones
from tests import tiny

CLASSES = 5, 3, 7, 4


def make(folder, backbone, k, classes=3, about=None, **fields):
  """A file of a side network with random weights."""
  part = config.default().side
  part.update(dict(rank=2, alpha=0.5) | fields)
  network = side.build(part, classes, backbone.cls, backbone.prefix)
  shape = jax.ShapeDtypeStruct(
      (1, backbone.tokens, backbone.width), jnp.float32)
  params = jax.eval_shape(
      lambda key, taps: network.init(key, Features(taps))['params'],
      jax.random.key(0), (shape,) * backbone.depth)
  path = folder / f'{k}.safetensors'
  export.save(
      path, tiny.random_like(params, k),
      tuple(f'{k}.{c}' for c in range(classes)),
      {'side': dict(part), 'cls': backbone.cls, 'prefix': backbone.prefix,
       'backbone': backbone.name, 'image_size': backbone.image_size,
       'normalisation': {'mean': backbone.mean, 'std': backbone.std},
       'config': {'backbone.dtype': backbone.dtype}} | (about or {}))
  return path


@pytest.fixture(scope='module')
def half(weights):
  """The tiny backbone in bf16, as the embedded one is."""
  fields = tiny.config(weights).backbone
  fields.dtype = 'bfloat16'
  return backbones.build(fields)


@pytest.fixture(scope='module')
def paths(tmp_path_factory, backbone):
  """Four tasks that differ in all that they may."""
  folder = tmp_path_factory.mktemp('served')
  return [make(folder, backbone, k, c, rank=1 + k % 3, skip=k % 2)
          for k, c in enumerate(CLASSES)]


def extracted(on, batch):
  return jax.jit(backbones.extractor(on))(on.frozen, batch.inputs)


def check_rows(served, logits, features, task, tolerance=2e-4):
  """Each row is that of its own network; padding is never the answer."""
  task = np.asarray(task)
  for k in set(task.tolist()):
    network, params, classes, _ = export.load(served.paths[k])
    rows = np.flatnonzero(task == k)
    own = Features(tuple(t[rows] for t in features.taps), features.norm)
    np.testing.assert_allclose(
        logits[rows, :len(classes)],
        jax.jit(network.apply)({'params': params}, own),
        rtol=tolerance, atol=tolerance)
    assert (logits[rows, len(classes):] == -jnp.inf).all()
    assert served.classes[k] == classes
  best = logits.argmax(-1)
  assert all(
      b < len(served.classes[k]) for b, k in zip(best, task, strict=True))


@pytest.mark.as_users
@pytest.mark.parametrize('dtype, pool', [
    ('float32', 'cls'), ('bfloat16', 'mean')])
def test_each_row_is_as_alone(
    paths, backbone, half, batch, tmp_path, dtype, pool):
  on, paths = backbone, paths[:3]
  if dtype == 'bfloat16':
    on = half
    paths = [make(tmp_path, on, k, c, rank=1 + k % 3, skip=k % 2, pool=pool)
             for k, c in enumerate(CLASSES[:3])]
  served, task = lst.serve(paths, on), np.arange(8) * 2 % 3
  features = extracted(on, batch)
  logits = served.predict(features, task)
  assert logits.shape == (8, 7) and logits.dtype == jnp.float32
  check_rows(
      served, logits, features, task, 2e-4 if dtype == 'float32' else 1e-2)
  # And the tasks do differ.
  assert not np.allclose(logits, served.predict(features, (task + 2) % 3))
  if dtype == 'float32':
    np.testing.assert_allclose(
        served.predict(batch.inputs, task), logits, rtol=1e-4, atol=1e-4)


def test_linear_probes(backbone, batch, tmp_path):
  paths = [make(tmp_path, backbone, k, c, name='linear')
           for k, c in enumerate(CLASSES)]
  served, task = lst.serve(paths, backbone), [3, 0, 1, 2, 3, 0, 1, 2]
  features = extracted(backbone, batch)
  check_rows(served, served.predict(features, task), features, task)


def test_cost_is_that_of_few(backbone, batch, tmp_path):
  many = [make(tmp_path, backbone, k) for k in range(20)]
  features = extracted(backbone, batch)
  flops = []
  for paths in (many[:2], many):
    served = lst.serve(paths, backbone)
    served.predict(features, np.zeros(8, np.int32))
    program, = served._programs.values()
    compiled = program.lower(
        served._stack, backbone.frozen, features,
        np.zeros(8, np.int32)).compile()
    flops.append(compiled.cost_analysis()['flops'])
  assert served.capacity == 32
  assert flops[0] == flops[1] > 1e4


def test_adding_compiles_nothing(paths, backbone, batch, tmp_path):
  served = lst.serve(paths[:3], backbone)
  task = np.arange(8) % 3
  before = served.predict(batch.inputs, task)
  more = served.add(paths[3])
  np.testing.assert_array_equal(more.predict(batch.inputs, task), before)
  last = more.predict(batch.inputs, np.full(8, 3))
  assert last.shape == before.shape and not (last[:, :4] == -jnp.inf).any()
  program, = served._programs.values()
  assert (served.capacity, program._cache_size()) == (4, 1)
  # Beyond the capacity it does, once.
  fifth = more.add(make(tmp_path, backbone, 5))
  fifth.predict(batch.inputs, np.full(8, 4))
  assert (fifth.capacity, program._cache_size()) == (8, 2)


@pytest.mark.parametrize('fields, about, message', [
    ({}, {'backbone': 'other'}, "backbone 'other', but here it is 'tiny'"),
    ({}, {'image_size': [32, 32]}, 'image_size'),
    ({}, {'normalisation': {'mean': [0.1] * 3, 'std': [1.0] * 3}},
     'normalisation'),
    ({}, {'config': {'backbone.dtype': 'bfloat16'}}, "dtype 'bfloat16'"),
    ({'residual': 'figure'}, {}, 'another kind of side network'),
    ({'pool': 'mean'}, {}, 'another kind of side network'),
    ({'name': 'linear'}, {}, 'another kind of side network'),
])
def test_what_does_not_fit_is_refused(
    paths, backbone, tmp_path, fields, about, message):
  wrong = make(tmp_path, backbone, 9, about=about, **fields)
  with pytest.raises(ValueError, match=message) as error:
    lst.serve([paths[0], wrong], backbone)
  assert str(wrong) in str(error.value)


def test_other_weights_of_the_same_name_and_shapes_are_refused(
    backbone, tmp_path):
  path = make(tmp_path, backbone, 0, about={
      'sha256': export.digest(backbone.frozen)})
  assert lst.load(path, backbone).about['sha256']
  assert len(lst.serve([path], backbone).paths) == 1
  frozen = jax.tree.map(lambda x: x, backbone.frozen)
  frozen['norm'] = {**frozen['norm'], 'bias': frozen['norm']['bias'] + 1e-6}
  other = backbone._replace(frozen=frozen)
  for use in (lambda: lst.load(path, other), lambda: lst.serve([path], other)):
    with pytest.raises(ValueError, match='trained on other weights') as error:
      use()
    assert str(path) in str(error.value)
  # Who has no backbone, or a file that does not say, is not asked.
  assert lst.load(path).classes
  assert lst.serve([make(tmp_path, backbone, 1)], other).paths


def test_a_backbone_of_another_size_is_refused(paths, backbone):
  # Of the same name, but without the last block.
  other = backbones.extractor

  def short(of):
    def extract(frozen, images):
      features = other(of)(frozen, images)
      return features._replace(taps=features.taps[:-1])
    return extract

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(backbones, 'extractor', short)
    with pytest.raises(ValueError, match='where this backbone needs None'):
      lst.serve(paths[:1], backbone)


def test_the_backbone_is_found(weights, backbone, batch, tmp_path):
  path = make(tmp_path, backbone, 0, about={
      'config': {'backbone.weights': weights, 'backbone.dtype': 'float32'}})
  task = np.zeros(8, np.int32)
  np.testing.assert_array_equal(
      lst.serve([path]).predict(batch.inputs, task),
      lst.serve([path], backbone).predict(batch.inputs, task))


def test_bad_calls_are_told(paths, backbone, batch):
  served = lst.serve(paths, backbone)
  for task in ([0] * 7 + [4], [-1] * 8):
    with pytest.raises(ValueError, match='none of the 4 that are served'):
      served.predict(batch.inputs, task)
  for task in ([0] * 7, [0.5] * 8):
    with pytest.raises(ValueError, match='an integer for each of the 8 rows'):
      # Where types are checked, `predict` would not come that far.
      served._indices(batch.inputs, np.array(task))
  with pytest.raises(ValueError, match='images have shape'):
    served.predict(batch.inputs[:, :8], [0] * 8)
  with pytest.raises(ValueError, match='twice'):
    served.add(paths[0])
  with pytest.raises(ValueError, match='nothing to serve'):
    lst.serve([])
