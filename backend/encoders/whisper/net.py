"""The encoder of Whisper (Radford et al. 2022, arXiv:2212.04356). Parameters are named as transformers names them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.layers import Embedding, Layer, LayerNorm, Linear

RATE = 16000
WINDOW, HOP = 400, 160
"""Samples of a spectrum, and from one to the next."""
_LINEAR, _BREAK, _STEP = 200 / 3, 1000.0, math.log(6.4) / 27


@dataclass(frozen=True)
class WhisperSizes:
    """What differs between the published nets."""

    width: int = 1280
    layers: int = 32
    heads: int = 20
    mlp: int = 5120
    bands: int = 128
    places: int = 1500
    """Vectors of the longest sound, fifty a second."""

    @property
    def samples(self) -> int:
        """Of the longest sound."""
        return self.places * 2 * HOP


class Convolution(Layer):
    """Over time: [B, cin, T] -> [B, cout, T / stride]."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(cout, cin, 3))
        self.bias = nn.Parameter(torch.empty(cout))

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(F.conv1d(x, self.get("weight", x), self.get("bias", x), stride=self.stride, padding=1))


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = Linear(width, width), Linear(width, width), Linear(width, width)
        self.k_proj = Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out_proj(attention(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads))
        return out


class Block(nn.Module):
    """Attention and a perceptron, each after a norm."""

    def __init__(self, sizes: WhisperSizes) -> None:
        super().__init__()
        self.self_attn = SelfAttention(sizes.width, sizes.heads)
        self.self_attn_layer_norm, self.final_layer_norm = LayerNorm(sizes.width), LayerNorm(sizes.width)
        self.fc1, self.fc2 = Linear(sizes.width, sizes.mlp), Linear(sizes.mlp, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return out


class WhisperNet(nn.Module):
    """Bands of a sound [B, bands, 2 * places] -> vectors before each layer, and normed after the last, [B, places, width] each."""

    def __init__(self, sizes: WhisperSizes) -> None:
        super().__init__()
        self.conv1, self.conv2 = Convolution(sizes.bands, sizes.width, 1), Convolution(sizes.width, sizes.width, 2)
        self.embed_positions = Embedding(sizes.places, sizes.width)
        self.layers = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.layer_norm = LayerNorm(sizes.width)

    def forward(self, bands: Tensor) -> list[Tensor]:
        h = self.conv2(self.conv1(bands)).transpose(1, 2)
        h = h + self.embed_positions(torch.arange(h.shape[1], device=h.device), h.dtype)
        found = []
        for layer in self.layers:
            found.append(h)
            h = layer(h)
        return [*found, self.layer_norm(h)]


def bands_of(samples: Tensor, sizes: WhisperSizes) -> Tensor:
    """A sound [B, n] at 16 kHz -> loudness by band of pitch, [B, bands, 2 * places]: of the longest sound, cut or filled up with silence.

    In powers of ten, at most eight below the loudest, and near one.
    """
    samples = F.pad(samples[:, : sizes.samples], (0, max(0, sizes.samples - samples.shape[1])))
    window = torch.hann_window(WINDOW, device=samples.device)
    power = torch.stft(samples, WINDOW, HOP, window=window, return_complex=True).abs()[..., :-1] ** 2
    loud = (_filters(sizes.bands).to(samples.device) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(loud, loud.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def _filters(bands: int) -> Tensor:
    """Triangles over the frequencies of a spectrum, [bands, WINDOW / 2 + 1], evenly spaced as the ear hears (Slaney 1998), of area one."""
    top = (_BREAK / _LINEAR) + math.log(RATE / 2 / _BREAK) / _STEP
    pitch = torch.linspace(0, top, bands + 2, dtype=torch.float64)
    corner = _BREAK / _LINEAR
    edges = torch.where(pitch < corner, pitch * _LINEAR, _BREAK * torch.exp((pitch - corner).clamp(min=0) * _STEP))
    heard = torch.linspace(0, RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (heard - low) / (middle - low), (high - heard) / (high - middle)
    return (torch.minimum(rise, fall).clamp(min=0) * 2 / (high - low)).float()
