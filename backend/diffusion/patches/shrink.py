"""Deep shrink: the first steps run at a lower resolution inside the net, so that large pictures keep one subject (kohya-ss 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from backend.diffusion.handle import ModelHandle

Resize = Callable[[Tensor, int, int], Tensor]
"""(maps [B, C, H, W], width, height) -> maps of that size."""


def deep_shrink(
    model: ModelHandle, block: int, factor: float, start: float, end: float, after_skip: bool, shrink: Resize, grow: Resize
) -> ModelHandle:
    """Divide the size of the map after input block `block` by `factor`, between two shares of sampling; on the way up it grows back.

    `after_skip`: the map handed to the way up stays whole.
    """
    first, last = model.noise.percent_to_sigma(start), model.noise.percent_to_sigma(end)

    def down(h: Tensor, facts: Mapping[str, Any]) -> Tensor:
        if facts["block"][1] != block or not last <= float(facts["sigmas"][0]) <= first:
            return h
        return shrink(h, max(1, round(h.shape[-1] / factor)), max(1, round(h.shape[-2] / factor)))

    def up(h: Tensor, skip: Tensor, facts: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        if h.shape[-2:] != skip.shape[-2:]:
            h = grow(h, skip.shape[-1], skip.shape[-2])
        return h, skip

    name = "input_block_patch_after_skip" if after_skip else "input_block_patch"
    return model.with_tap(name, down).with_tap("output_block_patch", up)
