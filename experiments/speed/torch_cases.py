"""The peers: PyTorch with timm, Transformers and PEFT, at their best settings.

LoRA sits on query and value of Transformers' ViT, whose three projections are
separate, as PEFT's own examples do; timm's ViT, which fuses them, serves the
other methods. Both attend with `scaled_dot_product_attention`.
"""

import contextlib
from collections.abc import Callable

from experiments.speed import cases

TIMM = {'S/16': 'vit_small_patch16_224', 'B/16': 'vit_base_patch16_224',
        'L/16': 'vit_large_patch16_224'}
# width, depth, hidden, heads.
SHAPES = {'S/16': (384, 12, 1536, 6), 'B/16': (768, 12, 3072, 12),
          'L/16': (1024, 24, 4096, 16)}


def _torch(case):
  """Torch, with the settings that suit it best here."""
  import torch

  torch.manual_seed(0)
  if case.device == 'gpu':
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
  return torch


def _place(torch, case):
  return torch.device('cuda' if case.device == 'gpu' else 'cpu')


def _half(torch, case):
  """Autocast in bf16: parameters that are trained stay in f32."""
  if case.dtype == 'float32':
    return contextlib.nullcontext()
  place = _place(torch, case).type
  # Trained weights change each step, so there is nothing to keep between two.
  return torch.autocast(place, torch.bfloat16)


def _timm(torch, case, frozen):
  """Backbone up to its pooled CLS token; frozen ones are kept in `dtype`."""
  import timm

  model = timm.create_model(TIMM[case.model], num_classes=0)
  if frozen:
    model = model.eval().requires_grad_(False).to(getattr(torch, case.dtype))
  return model.to(_place(torch, case))


def _targets(model):
  """Query and value, as Transformers calls them before version 5 and since."""
  names = {name.rpartition('.')[2] for name, _ in model.named_modules()}
  return ['query', 'value'] if 'query' in names else ['q_proj', 'v_proj']


def _lora(torch, case):
  """Transformers' ViT under PEFT; the frozen weights are kept in `dtype`."""
  import peft
  import transformers

  width, depth, hidden, heads = SHAPES[case.model]
  model = transformers.ViTModel(
      transformers.ViTConfig(
          hidden_size=width, num_hidden_layers=depth, intermediate_size=hidden,
          num_attention_heads=heads, attn_implementation='sdpa'),
      add_pooling_layer=False).to(getattr(torch, case.dtype))
  if case.method == 'lora_checkpoint':
    model.gradient_checkpointing_enable({'use_reentrant': False})
  # PEFT keeps what it trains in f32 beside weights in half precision.
  model = peft.get_peft_model(model, peft.LoraConfig(
      r=cases.LORA_RANK, lora_alpha=16, target_modules=_targets(model)))
  model = model.train().to(_place(torch, case))

  class Pooled(torch.nn.Module):
    """The CLS token of the last state."""

    def __init__(self):
      super().__init__()
      self.model = model

    def forward(self, images):
      return self.model(images).last_hidden_state[:, 0]

  return Pooled(), width


def _batches(torch, case, image_dtype):
  """Images as the loader would hand them over, and labels."""
  place = _place(torch, case)
  size = (case.batch, 3, cases.IMAGE_SIZE, cases.IMAGE_SIZE)
  images = torch.randn(size).to(place, image_dtype)
  labels = torch.randint(cases.CLASSES, (case.batch,)).to(place)
  return images, labels


def _finish(torch, case):
  """Waits until the device has done what it was told."""
  if case.device == 'gpu':
    torch.cuda.synchronize()


def _trainer(torch, case, backbone, head, inputs, labels, frozen):
  """One step of AdamW; a frozen backbone runs without a graph."""
  if case.compiled and backbone is not None:
    backbone = torch.compile(backbone)
  params = [p for m in (backbone, head) if m is not None
            for p in m.parameters() if p.requires_grad]
  optimizer = torch.optim.AdamW(
      params, lr=cases.LR, weight_decay=1e-4, fused=True)

  def step():
    with _half(torch, case):
      features = inputs
      if backbone is not None:
        with torch.set_grad_enabled(not frozen):
          features = backbone(inputs)
      logits = head(features)
    loss = torch.nn.functional.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    loss.item()
    _finish(torch, case)

  return step


def _features(torch, case):
  backbone = _timm(torch, case, frozen=True)
  if case.compiled:
    backbone = torch.compile(backbone)
  images, _ = _batches(torch, case, getattr(torch, case.dtype))

  def step():
    with torch.no_grad():
      backbone(images).float().cpu()

  return step


def _adapted(torch, case):
  backbone, width = _lora(torch, case)
  head = torch.nn.Linear(width, cases.CLASSES).to(_place(torch, case))
  batch = _batches(torch, case, getattr(torch, case.dtype))
  return _trainer(torch, case, backbone, head, *batch, frozen=False)


def _full(torch, case):
  backbone = _timm(torch, case, frozen=False)
  head = torch.nn.Linear(backbone.num_features, cases.CLASSES)
  head = head.to(_place(torch, case))
  batch = _batches(torch, case, torch.float32)
  return _trainer(torch, case, backbone, head, *batch, frozen=False)


def _linear(torch, case):
  backbone = _timm(torch, case, frozen=True)
  head = torch.nn.Linear(backbone.num_features, cases.CLASSES)
  head = head.to(_place(torch, case))
  batch = _batches(torch, case, getattr(torch, case.dtype))
  return _trainer(torch, case, backbone, head, *batch, frozen=True)


def _linear_cached(torch, case):
  place, width = _place(torch, case), SHAPES[case.model][0]
  head = torch.nn.Linear(width, cases.CLASSES).to(place)
  _, labels = _batches(torch, case._replace(batch=case.batch), torch.float32)
  rows = torch.randn(case.batch, width, device=place)
  return _trainer(torch, case, None, head, rows, labels, frozen=True)


METHODS = {
    'features': _features, 'lora': _adapted, 'lora_checkpoint': _adapted,
    'full': _full, 'linear': _linear, 'linear_cached': _linear_cached,
}


def build(case: cases.Case) -> Callable[[], None]:
  """A function that makes one step of `case` and returns when it is done."""
  torch = _torch(case)
  return METHODS[case.method](torch, case)


def peak_mib(case: cases.Case) -> float | None:
  """Largest memory the GPU's allocator held; None on a CPU."""
  if case.device != 'gpu':
    return None
  import torch
  return torch.cuda.max_memory_allocated() / 2 ** 20
