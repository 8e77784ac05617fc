"""PhotoMaker's encoder: CLIP's image encoder with two projections, and what fuses them with the encoding of a word.

Parameters are named as the authors' file names them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.clip_vision.net import VisionModel, VisionSizes
from backend.nn.layers import LayerNorm, Linear


class PhotoMakerNet(nn.Module):
    """Pictures of one person [N, 3, side, side], normalised, and the encoding of the word for each [N, width] -> the fused word [N, width].

    `second` is how wide the second projection is; both together are as wide as a word.
    """

    def __init__(self, sizes: VisionSizes, second: int) -> None:
        super().__init__()
        assert sizes.projection is not None
        width = sizes.projection + second
        self.vision_model = VisionModel(sizes)
        self.visual_projection = Linear(sizes.width, sizes.projection, bias=False)
        self.visual_projection_2 = Linear(sizes.width, second, bias=False)
        self.fuse_module = Fusing(width)

    def forward(self, pixels: Tensor, words: Tensor) -> Tensor:
        _, _, pooled = self.vision_model(pixels)
        person = torch.cat([self.visual_projection(pooled), self.visual_projection_2(pooled)], dim=-1)
        out: Tensor = self.fuse_module(words, person)
        return out


class Fusing(nn.Module):
    """A word and a person [N, width] each -> the word that means the person."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp1, self.mlp2, self.layer_norm = Perceptron(2 * width, width), Perceptron(width, width), LayerNorm(width)

    def forward(self, words: Tensor, person: Tensor) -> Tensor:
        x = self.mlp1(torch.cat([words, person], dim=-1)) + words
        out: Tensor = self.layer_norm(x + self.mlp2(x))
        return out


class Perceptron(nn.Module):
    """Pre-normed, one hidden layer."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.layernorm, self.fc1, self.fc2 = LayerNorm(cin), Linear(cin, cout), Linear(cout, cout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.layernorm(x))))
        return out
