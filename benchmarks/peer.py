"""The reference libraries, for comparison.

They import torchvision where they find it, and cannot beside a torch for the CPU alone: its wheel is for CUDA.
"""

from __future__ import annotations

import importlib.util
from typing import Any

_find_spec = importlib.util.find_spec


def _without_torchvision(name: str, package: str | None = None) -> Any:
    return None if name.split(".")[0] == "torchvision" else _find_spec(name, package)


importlib.util.find_spec = _without_torchvision

from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel  # noqa: E402

__all__ = ["AutoencoderKL", "StableDiffusionPipeline", "UNet2DConditionModel"]
