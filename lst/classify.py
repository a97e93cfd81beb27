"""What a run of any method trained, ready to classify images."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Num
from ml_collections import ConfigDict

from lst import config as config_lib
from lst import export
from lst import method as methods
from lst.backbones import backbone as backbones
from lst.backbones.frozen import of_clips


class Classifier(NamedTuple):
  """A backbone and what was trained of it or beside it.

  Attributes:
    logits: images (B, H, W, 3) with values in [0, 255], of the backbone's size,
      or clips (B, T, H, W, 3) of as many frames as it was trained on, to logits
      (B, C); compiled for every new B.
    classes: class names, by index.
    backbone: that it stands on.
  """

  logits: Callable[[Num[Array, 'b ... h w 3']], Float[Array, 'b c']]
  classes: tuple[str, ...]
  backbone: backbones.Backbone


def classifier(
    path: str | os.PathLike, backbone: backbones.Backbone | None = None
) -> Classifier:
  """Reads what a run of any method left as `side.safetensors`.

      digits = lst.classifier('runs/digits/side.safetensors')
      names = [digits.classes[k] for k in digits.logits(images).argmax(-1)]

  Args:
    path: of the file.
    backbone: as `lst.backbones.backbone.build` gives it; by default it is
      loaded as the file says.

  Raises:
    FileNotFoundError, ValueError: as `lst.load` with a backbone.
  """
  params, classes, about = export.load(path)[1:]
  config = _config(about.get('config', {}))
  if backbone is None:
    backbone = backbones.build(config.backbone)
  export.check(os.fspath(path), about, backbone, export.digest(backbone.frozen))
  backbone = of_clips(backbone, about.get('frames', 0))
  method = methods.build(config, backbone, len(classes))
  image = jax.ShapeDtypeStruct((1, *backbone.input_size, 3), 'uint8')
  needed = jax.eval_shape(
      method.init, jax.random.key(0), backbone.frozen, image)
  if _shapes(needed) != _shapes(params):
    raise ValueError(
        f'{path} does not hold the parameters of its own config on the backbone'
        f' {backbone.name!r}: {_shapes(params)} against {_shapes(needed)}')
  predict = _predictor(method) if backbone.steps else jax.jit(method.predict)
  return Classifier(
      lambda images: predict(params, backbone.frozen, images), classes,
      backbone)


def _predictor(method: methods.Method) -> Callable:
  """`Method.predict` on features that the host runs."""
  readout = jax.jit(method.readout)
  return lambda params, frozen, inputs: readout(
      params, method.run(frozen, inputs))


def _config(values: dict[str, Any]) -> ConfigDict:
  """The config of which `lst.config.flat` gave these; else the default.

  Tasks and fields that another version had are left out.
  """
  config = config_lib.default()
  known = config_lib.flat(config)
  for name in known.keys() & values.keys():
    value = values[name]
    # JSON has no tuples.
    config.update_from_flattened_dict({
        name: tuple(value) if isinstance(known[name], tuple) else value})
  return config


def _shapes(tree) -> dict[str, tuple[int, ...]]:
  return {
      jax.tree_util.keystr(path, simple=True, separator='/'): tuple(x.shape)
      for path, x in jax.tree.leaves_with_path(tree)}
