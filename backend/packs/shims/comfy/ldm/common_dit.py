"""What transformers on pictures have in common."""

from __future__ import annotations

from typing import Any

import torch

from comfy.rmsnorm import rms_norm

__all__ = ["pad_to_patch_size", "rms_norm"]


def pad_to_patch_size(img: Any, patch_size: Any = (2, 2), padding_mode: str = "circular") -> Any:
    """img [B, C, ...] with its last dimensions lengthened to multiples of the patch."""
    pad: list[int] = []
    for side, patch in zip(reversed(img.shape[-len(patch_size) :]), reversed(patch_size)):
        pad += [0, -side % patch]
    if padding_mode == "circular" and (torch.jit.is_tracing() or torch.jit.is_scripting()):
        padding_mode = "reflect"
    return torch.nn.functional.pad(img, pad, mode=padding_mode)
