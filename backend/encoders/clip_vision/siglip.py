"""SigLIP's vision transformer (Zhai et al. 2023, arXiv:2303.15343): no position for the whole picture, every one normed at the end."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadFile
from backend.encoders.clip.net import Block, ClipSizes, Perceptron
from backend.encoders.clip_vision.handle import VisionHandle
from backend.encoders.clip_vision.net import Seen, VisionSizes
from backend.memory.pool import Loadable
from backend.nn.layers import Conv2d, Embedding, LayerNorm
from backend.weights.detect import MALFORMED, count
from backend.weights.file import Header, Renamed, Views, WeightFile, identity

EPS = 1e-6
POSITIONS = "vision_model.embeddings.position_embedding.weight"
BIAS = "vision_model.embeddings.patch_embedding.bias"
HEADS = {768: 12}
"""By width; others have sixteen."""


@dataclass(frozen=True)
class SiglipSizes(VisionSizes):
    """`positions` are patches alone; there is no projection."""

    projection: int | None = None
    quick: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    deviation: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def side(self) -> int:
        return math.isqrt(self.positions) * self.patch


class SiglipVision(nn.Module):
    """Pictures [B, 3, side, side], normalised -> `Seen`, whose embeds are the last states."""

    def __init__(self, sizes: SiglipSizes) -> None:
        super().__init__()
        self.vision_model = VisionModel(sizes)

    def forward(self, pixels: Tensor) -> Seen:
        states = self.vision_model.states(pixels)
        last = self.vision_model.post_layernorm(states[-1])
        return Seen(last, last, states[-2], torch.stack(states, dim=1))


class VisionModel(nn.Module):
    def __init__(self, sizes: SiglipSizes) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes)
        self.encoder = Encoder(sizes)
        self.post_layernorm = LayerNorm(sizes.width, EPS)

    def states(self, pixels: Tensor) -> list[Tensor]:
        """After each layer."""
        x, found = self.embeddings(pixels), []
        for block in self.encoder.layers:
            x = block(x, None)
            found.append(x)
        return found


class Embeddings(nn.Module):
    """A vector for each patch, plus its position's."""

    def __init__(self, sizes: SiglipSizes) -> None:
        super().__init__()
        self.patch_embedding = Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch)
        self.position_embedding = Embedding(sizes.positions, sizes.width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches: Tensor = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        places: Tensor = self.position_embedding(torch.arange(patches.shape[1], device=pixels.device), pixels.dtype)
        return patches + places


class Encoder(nn.Module):
    def __init__(self, sizes: SiglipSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))


class Layer(Block):
    def __init__(self, sizes: SiglipSizes) -> None:
        like = ClipSizes(width=sizes.width, layers=sizes.layers, heads=sizes.heads, mlp=sizes.mlp, quick=False)
        super().__init__(like)
        self.layer_norm1, self.layer_norm2 = LayerNorm(sizes.width, EPS), LayerNorm(sizes.width, EPS)
        self.mlp = RoughPerceptron(like)


class RoughPerceptron(Perceptron):
    """With the GELU that is approximated by a hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


def sizes_of(header: Header, heads: int | None = None) -> SiglipSizes:
    """Sizes from shapes. Raises KeyError naming what is missing."""
    positions, width = header[POSITIONS].shape
    return SiglipSizes(
        width=width,
        layers=count(header, "vision_model.encoder.layers"),
        heads=heads or HEADS.get(width, 16),
        mlp=header["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        patch=header["vision_model.embeddings.patch_embedding.weight"].shape[-1],
        positions=positions,
    )


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32, heads: int | None = None) -> VisionHandle | None:
    """SigLIP's image encoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    if BIAS not in file or POSITIONS not in file or "vision_model.pre_layrnorm.weight" in file:
        return None
    named = Renamed(file, {key: key for key in file if key.startswith("vision_model.") and not key.startswith("vision_model.head.")})
    try:
        sizes = sizes_of(named, heads)
        with torch.device("meta"):
            net = SiglipVision(sizes)
        odd = next((name for name, p in net.named_parameters() if named[name].shape != tuple(p.shape)), None)
    except MALFORMED as error:
        text = f"{file.path.name} holds an image encoder (SigLIP) that is incomplete: {error}."
        raise BadFile(text, hint="Fetch the file again.", file=file.path) from error
    if odd is not None:
        text = f"{file.path.name} holds an image encoder (SigLIP) whose weight {odd} has a shape that others contradict."
        raise BadFile(text, hint="The file is damaged.", file=file.path)
    return VisionHandle(Loadable(f"{identity(file)}#vision", functools.partial(SiglipVision, sizes), Views(named), dtype=dtype), sizes)
