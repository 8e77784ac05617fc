"""DINOv2 (Oquab et al. 2023, arXiv:2304.07193) as the models of geometry use it. Parameters are named as the authors' files name them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.layers import Conv2d, Layer, LayerNorm, Linear
from backend.nn.rope import Turn, grid, turn, turned_halves
from backend.weights.detect import count
from backend.weights.file import Header

HEAD = 64
"""Every published net has heads this wide."""
THETA = 100.0
OFFSET = 0.1
"""Added to the number of patches when position embeddings are stretched: an accident of the first version that all later ones keep."""


@dataclass(frozen=True)
class DinoSizes:
    """What differs between the nets."""

    width: int = 1024
    layers: int = 24
    mlp: int = 4096
    positions: int = 1370
    patch: int = 14
    taken: tuple[int, ...] = (5, 12, 18, 24)
    """After how many layers to look in."""
    several: int | None = None
    """From which layer on queries and keys are normalised and turned by their places, every second layer sees all pictures of a scene at
    once, and a camera's token stands where the whole picture's was; None where the net knows no scenes."""
    norm: float = 1e-6
    """Epsilon of the norm at the end."""
    head: int = HEAD


def dino_sizes(header: Header, prefix: str, taken: tuple[int, ...] | None = None, norm: float = 1e-6) -> DinoSizes:
    """Sizes of the net below `prefix`. Without `taken` it is looked into four times, evenly. Raises KeyError for what is not there."""
    layers = count(header, f"{prefix}blocks")
    several = next((i for i in range(layers) if f"{prefix}blocks.{i}.attn.q_norm.weight" in header), None)
    return DinoSizes(
        width=header[f"{prefix}cls_token"].shape[-1],
        layers=layers,
        mlp=header[f"{prefix}blocks.0.mlp.fc1.weight"].shape[0],
        positions=header[f"{prefix}pos_embed"].shape[1],
        patch=header[f"{prefix}patch_embed.proj.weight"].shape[-1],
        taken=taken or tuple(layers * (i + 1) // 4 for i in range(4)),
        several=several,
        norm=norm,
        head=HEAD if several is None else header[f"{prefix}blocks.{several}.attn.q_norm.weight"].shape[0],
    )


class Dino(Layer):
    """Pictures [B, 3, H, W], normalised, sides multiples of the patch -> for each look the whole [B, width] and places [B, h * w, C].

    C is the width; twice that for nets that know scenes: what a picture's own attention gave, then the scene's. Each picture is a scene.
    """

    def __init__(self, sizes: DinoSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.cls_token = nn.Parameter(torch.empty(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(torch.empty(1, sizes.positions, sizes.width))
        self.camera_token = nn.Parameter(torch.empty(1, 2, sizes.width)) if sizes.several is not None else None
        self.patch_embed = nn.ModuleDict({"proj": Conv2d(3, sizes.width, sizes.patch, sizes.patch)})
        first = sizes.layers if sizes.several is None else sizes.several
        heads = max(1, sizes.width // sizes.head)
        self.blocks = nn.ModuleList(Block(sizes.width, heads, sizes.mlp, normed=i >= first) for i in range(sizes.layers))
        self.norm = LayerNorm(sizes.width, sizes.norm)

    def forward(self, pixels: Tensor) -> list[tuple[Tensor, Tensor]]:
        x = self.patch_embed["proj"](pixels)
        rows, columns = x.shape[2:]
        x = torch.cat([self.get("cls_token", x).expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = x + self._places(x, rows, columns)
        own, scene = self._turns(rows, columns, x.device)
        first, found, local = self.sizes.several, [], x
        for i, block in enumerate(self.blocks):
            knows = first is not None and i >= first
            if i == first:
                x = torch.cat([self.get("camera_token", x)[:, :1].expand(len(x), -1, -1), x[:, 1:]], dim=1)
            of_scene = knows and i % 2 == 1
            x = block(x, (scene if of_scene else own) if knows else None)
            local = local if of_scene else x
            if i + 1 in self.sizes.taken:
                y = self.norm(x)
                found.append((y[:, 0], y[:, 1:] if first is None else torch.cat([local[:, 1:], y[:, 1:]], dim=-1)))
        return found

    def _places(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Position embeddings for a grid of patches of any size, stretched from the trained square one."""
        table = self.get("pos_embed", x)
        side = round((table.shape[1] - 1) ** 0.5)
        if (rows, columns) == (side, side):
            return table
        squares = table[:, 1:].transpose(1, 2).reshape(1, -1, side, side).float()
        scale = ((rows + OFFSET) / side, (columns + OFFSET) / side)
        stretched = F.interpolate(squares, scale_factor=scale, mode="bicubic")
        return torch.cat([table[:, :1], stretched.flatten(2).transpose(1, 2).to(x.dtype)], dim=1)

    def _turns(self, rows: int, columns: int, device: torch.device) -> tuple[Turn, Turn]:
        """Of a picture's places among themselves, counted from 1 (the whole is at 0), and of its places in a scene, which are all alike."""
        places = F.pad(grid(rows, columns, device=device)[:, 1:] + 1, (0, 0, 1, 0))
        return self._turn(places), self._turn(places.clamp(max=1))

    def _turn(self, places: Tensor) -> Turn:
        return turn(places, (self.sizes.head // 2,) * 2, THETA)


class Block(nn.Module):
    """Pre-normed attention and feed forward over [B, T, width], both scaled by a learnt factor per channel."""

    def __init__(self, width: int, heads: int, mlp: int, *, normed: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(width, 1e-6), LayerNorm(width, 1e-6)
        self.attn = Attention(width, heads, normed=normed)
        self.ls1, self.ls2 = Scale(width), Scale(width)
        self.mlp = nn.ModuleDict({"fc1": Linear(width, mlp), "fc2": Linear(mlp, width)})

    def forward(self, x: Tensor, by: Turn | None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), by))
        out: Tensor = x + self.ls2(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))
        return out


class Attention(nn.Module):
    """Self-attention; where `normed`, queries and keys are normalised and turned."""

    def __init__(self, width: int, heads: int, *, normed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = Linear(width, 3 * width), Linear(width, width)
        self.q_norm, self.k_norm = (LayerNorm(width // heads) if normed else None for _ in range(2))

    def forward(self, x: Tensor, by: Turn | None) -> Tensor:
        q, k, v = (part.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        if self.q_norm is not None and self.k_norm is not None and by is not None:
            q, k = turned_by_axis(self.q_norm(q), by), turned_by_axis(self.k_norm(k), by)
        out: Tensor = self.proj(by_head(q, k, v).transpose(1, 2).reshape(x.shape))
        return out


def turned_by_axis(x: Tensor, by: Turn) -> Tensor:
    """Half of a head's channels turn with the row, half with the column; within each, channel i makes a pair with one half of it on."""
    parts = zip(x.chunk(2, dim=-1), *(angle.chunk(2, dim=-1) for angle in by), strict=True)
    return torch.cat([turned_halves(part, (cos, sin)) for part, cos, sin in parts], dim=-1)


class Scale(Layer):
    """A learnt factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get("gamma", x)
