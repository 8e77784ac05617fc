"""Flux 2's transformer: Flux's blocks without biases, gated, all of a kind told the same; four axes of places.

Black Forest Labs 2025, bfl.ai/blog/flux-2. Parameter names are those of the published single files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from backend.families.flux.blocks import BlockSizes, Modulation, Shift
from backend.families.flux.net import FluxNet
from backend.families.flux.places import Layout


class Flux2Net(FluxNet):
    """As FluxNet; the latent [B, 128, H, W] comes in patches already."""

    layout = Layout((32, 32, 32, 32), theta=2000.0, text=(3,), step=10, method="index")
    blocks: Mapping[str, Any] = {"bias": False, "gated": True, "own": False}

    def embedders(self, made: BlockSizes) -> None:
        super().embedders(made)
        self.double_stream_modulation_img = Modulation(made.width, 2, bias=False)
        self.double_stream_modulation_txt = Modulation(made.width, 2, bias=False)
        self.single_stream_modulation = Modulation(made.width, 1, bias=False)

    def shifts(self, vec: Tensor) -> Any:
        return self.double_stream_modulation_img(vec), self.double_stream_modulation_txt(vec), self.single_stream_modulation(vec)

    def for_double(self, i: int, told: Any) -> tuple[Shift, Shift]:
        return told[0], told[1]

    def for_single(self, i: int, told: Any) -> Shift:
        single: Shift = told[2]
        return single
