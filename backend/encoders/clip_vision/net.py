"""The vision transformer of CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.4), under transformers' key names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backend.encoders.clip.net import Block, ClipSizes
from backend.nn.layers import Conv2d, Embedding, Layer, LayerNorm, Linear


@dataclass(frozen=True)
class VisionSizes:
    """Everything that differs between image encoders of this kind. All but `heads` and `quick` can be read from shapes."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp: int = 4096
    patch: int = 14
    positions: int = 257
    """Patches of a picture and one for the whole."""
    projection: int | None = 768
    quick: bool = True
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    deviation: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    """Of the colours it was trained on."""

    @property
    def side(self) -> int:
        """Pixels of a picture on a side."""
        return round((self.positions - 1) ** 0.5) * self.patch


@dataclass(frozen=True)
class Seen:
    """What the encoder makes of pictures: [B, projection], and hidden states [B, positions, width] of the last layers, not normed."""

    embeds: Tensor | None
    last: Tensor
    penultimate: Tensor
    every: Tensor | None = None
    """[B, layers, positions, width], of encoders of which more than two are asked for."""


class ClipVision(nn.Module):
    """Pictures [B, 3, side, side], normalised -> `Seen`."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.vision_model = VisionModel(sizes)
        self.visual_projection = Linear(sizes.width, sizes.projection, bias=False) if sizes.projection is not None else None

    def forward(self, pixels: Tensor) -> Seen:
        last, penultimate, pooled = self.vision_model(pixels)
        return Seen(self.visual_projection(pooled) if self.visual_projection is not None else None, last, penultimate)


class VisionModel(nn.Module):
    """Patches plus positions, norm, pre-norm transformer layers, norm of the first position."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        like = ClipSizes(width=sizes.width, layers=sizes.layers, heads=sizes.heads, mlp=sizes.mlp, quick=sizes.quick)
        self.embeddings = Embeddings(sizes)
        self.pre_layrnorm = LayerNorm(sizes.width)  # the published names have this spelling
        self.encoder = Encoder(like)
        self.post_layernorm = LayerNorm(sizes.width)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = before = self.pre_layrnorm(self.embeddings(pixels))
        for block in self.encoder.layers:
            before = x
            x = block(x, None)
        return x, before, self.post_layernorm(x[:, 0])


class Encoder(nn.Module):
    """A list of layers; a module of its own because the published names have it."""

    def __init__(self, like: ClipSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(like) for _ in range(like.layers))


class Embeddings(Layer):
    """A learned vector for the whole picture, then one for each patch, plus positions."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(sizes.width))
        self.patch_embedding = Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch, bias=False)
        self.position_embedding = Embedding(sizes.positions, sizes.width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        whole = self.get("class_embedding", pixels).expand(len(pixels), 1, -1)
        positions = torch.arange(patches.shape[1] + 1, device=pixels.device)
        return torch.cat([whole, patches], dim=1) + self.position_embedding(positions, pixels.dtype)
