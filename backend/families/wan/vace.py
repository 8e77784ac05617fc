"""Wan VACE (Jiang et al. 2025, arXiv:2503.07598): blocks beside the net's own look at films to follow or to fill, and add to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backend.families.qwen_image.net import whole
from backend.families.wan.net import Block, Line, PatchEmbedding, Shown, Told, WanNet, WanSizes
from backend.nn.layers import Linear


@dataclass(frozen=True)
class VaceSizes(WanSizes):
    hints: int = 96
    """Channels of what is followed: two films as latents, and a mask."""
    looking: int = 8
    """Blocks that look at it."""

    @property
    def every(self) -> int:
        """They add to every so many of the net's blocks."""
        return self.layers // self.looking


class LookingBlock(Block):
    """A block on the hint's tokens; the first one begins with the film's."""

    def __init__(self, sizes: WanSizes, first: bool) -> None:
        super().__init__(sizes)
        if first:
            self.before_proj = Linear(sizes.width, sizes.width)
        self.after_proj = Linear(sizes.width, sizes.width)


class VaceNet(WanNet):
    """Shown besides: `hints` [B, n * hints, T, H, W], and `strengths` [B, n] of each."""

    def __init__(self, sizes: VaceSizes) -> None:
        super().__init__(sizes)
        self.hints, self.every = sizes.hints, sizes.every
        self.vace_patch_embedding = PatchEmbedding(sizes.hints, sizes.width)
        self.vace_blocks: Sequence[LookingBlock] = nn.ModuleList(  # type: ignore[assignment]
            LookingBlock(sizes, first=i == 0) for i in range(sizes.looking)
        )

    def through(self, line: Line, told: Told, shown: Shown) -> Tensor:
        h = line.h
        seen = [self._begun(hint, line) for hint in torch.split(shown["hints"], self.hints, dim=1)]
        strengths = shown["strengths"].to(h.dtype).unbind(1)
        for i in range(len(self.blocks)):
            h = self.step(i, h, told)
            at, rest = divmod(i, self.every)
            if rest == 0 and at < len(self.vace_blocks):
                looking = self.vace_blocks[at]
                for n, strength in enumerate(strengths):
                    seen[n] = looking(seen[n], told)
                    h = h + looking.after_proj(seen[n]) * strength.reshape(-1, 1, 1)
        return h

    def _begun(self, hint: Tensor, line: Line) -> Tensor:
        made: Tensor = self.vace_blocks[0].before_proj(self.vace_patch_embedding(whole(hint))) + line.h
        return made
