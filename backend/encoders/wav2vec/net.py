"""wav2vec 2.0 (Baevski et al. 2020, arXiv:2006.11477). Parameters are named as transformers names them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.layers import Layer, LayerNorm, Linear

STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Of the convolutions, in every published net: 320 samples become one vector."""
HEAD = 64


@dataclass(frozen=True)
class SpeechSizes:
    """What differs between the published nets."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp: int = 4096
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    channels: tuple[int, ...] = (512,) * 7
    """Of the convolutions over samples."""
    reach: int = 128
    """Vectors that the convolution over places sees."""
    groups: int = 16
    large: bool = True
    """Whether every convolution is normalised, and layers are normed before they attend; else the first alone, and after."""


class SpeechNet(nn.Module):
    """Samples [B, n] at 16 kHz, normalised -> vectors before each layer and after the last, [B, T, width] each."""

    def __init__(self, sizes: SpeechSizes) -> None:
        super().__init__()
        self.feature_extractor = Convolutions(sizes)
        self.feature_projection = nn.ModuleDict(
            {"layer_norm": LayerNorm(sizes.channels[-1]), "projection": Linear(sizes.channels[-1], sizes.width)}
        )
        self.encoder = Encoder(sizes)

    def forward(self, samples: Tensor) -> list[Tensor]:
        x = self.feature_extractor(samples[:, None]).transpose(1, 2)
        out: list[Tensor] = self.encoder(self.feature_projection["projection"](self.feature_projection["layer_norm"](x)))
        return out


class Convolutions(nn.Module):
    """[B, 1, n] -> [B, channels, T]"""

    def __init__(self, sizes: SpeechSizes) -> None:
        super().__init__()
        before = (1, *sizes.channels)
        self.conv_layers = nn.ModuleList(
            Convolution(before[i], cout, kernel, STRIDES[i], every=sizes.large, first=i == 0)
            for i, (cout, kernel) in enumerate(zip(sizes.channels, sizes.kernels, strict=True))
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.conv_layers:
            x = layer(x)
        return x


class Convolution(Layer):
    """One of them: normalised over channels (`every`), or, the first alone, over time."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, *, every: bool, first: bool) -> None:
        super().__init__()
        self.stride, self.every = stride, every
        self.conv = Kernel(cin, cout, kernel, bias=every)
        self.layer_norm = LayerNorm(cout) if every or first else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv1d(x, self.conv.get("weight", x), self.conv.maybe("bias", x), self.stride)
        if self.layer_norm is not None and self.every:
            x = self.layer_norm(x.transpose(1, 2)).transpose(1, 2)
        elif self.layer_norm is not None:
            x = F.group_norm(x, x.shape[1], self.layer_norm.get("weight", x), self.layer_norm.get("bias", x))
        return F.gelu(x)


class Kernel(Layer):
    """The weights of a convolution over time."""

    def __init__(self, cin: int, cout: int, kernel: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cout, cin, kernel))
        self.bias = nn.Parameter(torch.empty(cout)) if bias else None


class Encoder(nn.Module):
    """Places, told by a convolution, and transformer layers."""

    def __init__(self, sizes: SpeechSizes) -> None:
        super().__init__()
        self.large = sizes.large
        self.pos_conv_embed = nn.ModuleDict({"conv": Places(sizes)})
        self.layer_norm = LayerNorm(sizes.width)
        self.layers = nn.ModuleList(SpeechLayer(sizes) for _ in range(sizes.layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = x + self.pos_conv_embed["conv"](x)
        x = x if self.large else self.layer_norm(x)
        found = []
        for layer in self.layers:
            found.append(x)
            x = layer(x)
        return [*found, self.layer_norm(x) if self.large else x]


class Places(Layer):
    """A convolution over time whose kernels have learnt lengths, place by place (Salimans & Kingma 2016, arXiv:1602.07868)."""

    def __init__(self, sizes: SpeechSizes) -> None:
        super().__init__()
        self.groups = sizes.groups
        self.length = nn.Parameter(torch.empty(1, 1, sizes.reach))
        self.direction = nn.Parameter(torch.empty(sizes.width, sizes.width // sizes.groups, sizes.reach))
        self.bias = nn.Parameter(torch.empty(sizes.width))

    def forward(self, x: Tensor) -> Tensor:
        direction = self.get("direction", x)
        weight = direction / direction.norm(dim=(0, 1), keepdim=True) * self.get("length", x)
        reach = weight.shape[-1]
        y = F.conv1d(x.transpose(1, 2), weight, self.get("bias", x), padding=reach // 2, groups=self.groups)
        return F.gelu(y[:, :, : x.shape[1]]).transpose(1, 2)


class SpeechLayer(nn.Module):
    """Attention and feed forward, normed before or after."""

    def __init__(self, sizes: SpeechSizes) -> None:
        super().__init__()
        self.large, self.heads = sizes.large, sizes.heads
        self.attention = nn.ModuleDict({f"{name}_proj": Linear(sizes.width, sizes.width) for name in ("q", "k", "v", "out")})
        self.layer_norm, self.final_layer_norm = LayerNorm(sizes.width), LayerNorm(sizes.width)
        self.feed_forward = nn.ModuleDict(
            {"intermediate_dense": Linear(sizes.width, sizes.mlp), "output_dense": Linear(sizes.mlp, sizes.width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.large:
            x = x + self._attended(self.layer_norm(x))
            return x + self._fed(self.final_layer_norm(x))
        x = self.layer_norm(x + self._attended(x))
        out: Tensor = self.final_layer_norm(x + self._fed(x))
        return out

    def _attended(self, x: Tensor) -> Tensor:
        q, k, v = (self.attention[f"{name}_proj"](x) for name in "qkv")
        out: Tensor = self.attention["out_proj"](attention(q, k, v, self.heads))
        return out

    def _fed(self, x: Tensor) -> Tensor:
        out: Tensor = self.feed_forward["output_dense"](F.gelu(self.feed_forward["intermediate_dense"](x)))
        return out
