"""The families of checkpoints; the first one whose marks are all there."""

from lst.backbones.families import (
    flax_video,
    flax_vit,
    hf_clip,
    hf_dino,
    hf_video,
    hf_vit,
    own,
    timm_vit,
)
from lst.backbones.families.family import Family

FAMILIES: tuple[Family, ...] = (
    own.OWN,
    flax_vit.FLAX,
    flax_video.FOUR_DS,
    hf_video.VIVIT,
    hf_video.VIDEOMAE,
    hf_video.VJEPA2,
    hf_vit.DEIT,
    hf_vit.VIT,
    hf_dino.DINOV2_REGISTERS,
    hf_dino.DINOV2,
    hf_dino.DINOV3,
    hf_clip.CLIP,
    hf_clip.SIGLIP,
    timm_vit.TIMM,
)
