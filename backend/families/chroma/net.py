"""Chroma: Flux's blocks, all told by one small net what each of them would have computed from the time.

Rock 2025, github.com/lodestone-rock/flow. Parameter names are those of the published single files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backend.families.flux.blocks import BlockSizes, Embedder, Scale, Shift
from backend.families.flux.net import CLOCK, FluxNet, FluxSizes
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Linear


@dataclass(frozen=True)
class ChromaSizes(FluxSizes):
    told: int = 64
    """Width of what the small net is told."""
    teller: int = 5120
    """Its inner width."""
    layers: int = 5

    @property
    def shifts(self) -> int:
        """Vectors that the blocks are told: three a single block, six a stream of a double block, two at the end."""
        return 3 * self.singles + 12 * self.doubles + 2


class Teller(nn.Module):
    """[B, shifts, told] -> what every block is told [B, shifts, width]."""

    def __init__(self, sizes: ChromaSizes) -> None:
        super().__init__()
        self.in_proj = Linear(sizes.told, sizes.teller)
        self.layers = nn.ModuleList(Embedder(sizes.teller, sizes.teller) for _ in range(sizes.layers))
        self.norms = nn.ModuleList(Scale(sizes.teller) for _ in range(sizes.layers))
        self.out_proj = Linear(sizes.teller, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(norm(x))
        out: Tensor = self.out_proj(x)
        return out


class ChromaNet(FluxNet):
    """As FluxNet, without pooled text and guidance scale."""

    blocks: Mapping[str, Any] = {"own": False}
    tells_itself = False

    def embedders(self, made: BlockSizes) -> None:
        assert isinstance(self.sizes, ChromaSizes)
        self.distilled_guidance_layer = Teller(self.sizes)

    def told(self, t: Tensor, x: Tensor, y: Tensor | None, guidance: Tensor | None) -> Tensor:
        """What all blocks are told [B, shifts, width]: each is asked for by the time, a guidance scale of nought and its number."""
        assert isinstance(self.sizes, ChromaSizes)
        count, part = self.sizes.shifts, self.sizes.told // 4
        time = timestep_embedding(torch.stack([t * CLOCK, torch.zeros_like(t)], 1).flatten(), part).reshape(len(t), 1, 2 * part)
        number = timestep_embedding(torch.arange(count, device=t.device) * CLOCK, 2 * part)
        asked = torch.cat([time.expand(-1, count, -1), number.expand(len(t), -1, -1)], dim=-1)
        out: Tensor = self.distilled_guidance_layer(asked.to(x.dtype))
        return out

    def for_double(self, i: int, vec: Any) -> tuple[Shift, Shift]:
        img = 3 * self.sizes.singles + 6 * i
        txt = img + 6 * self.sizes.doubles
        return vec[:, img : img + 6].chunk(6, dim=1), vec[:, txt : txt + 6].chunk(6, dim=1)

    def for_single(self, i: int, vec: Any) -> Shift:
        return vec[:, 3 * i : 3 * i + 3].chunk(3, dim=1)

    def for_final(self, vec: Tensor) -> Shift:
        return vec[:, -2:].chunk(2, dim=1)
