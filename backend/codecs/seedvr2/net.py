"""The causal 3D autoencoder of SeedVR2 (Wang et al. 2025, arXiv:2506.05301): Stable Diffusion 3's, inflated over time (SeedVR,
arXiv:2501.01320, section 3.3), under its published key names.

Time only looks back, and the first frame stands for all before it. So a picture is a film of one frame that a convolution over time meets
in each of its slices: pictures [B, C, H, W] run through plain two-dimensional convolutions with their sum. Norms and attention look at each
frame alone. Films [B, C, T, H, W] go through piece by piece; `Past` keeps what the convolutions saw last.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.codecs.kl.net import drawn
from backend.codecs.wan.net import Past, SteppedSizes, by_frame, decoded, encoded, film
from backend.nn.attention import by_head
from backend.nn.layers import GroupNorm, Layer, Linear

EPS = 1e-6
GROUPS = 32


@dataclass(frozen=True)
class SeedVR2VaeSizes(SteppedSizes):
    """Everything that differs between autoencoders of this kind. Channels of level i are `channels * channel_mult[i]`."""

    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2
    """Of a level on the way down; on the way up it has one more."""
    z_channels: int = 16
    in_channels: int = 3
    temporal: tuple[bool, ...] = (False, True, True)
    """For each step down whether it halves the frames too."""


class Causal(Layer):
    """A convolution over [B, C, T, H, W] that sees `reach` frames back; weight [cout, cin, t, k, k]. Or over one frame [B, C, H, W].

    `stride` is that of rows and columns, and of frames where it reaches back.
    """

    def __init__(self, cin: int, cout: int, time: int, kernel: int, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        self.reach, self.stride, self.padding = time - 1, stride, kernel // 2 if padding is None else padding
        self.weight = nn.Parameter(torch.empty(cout, cin, time, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(cout))

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        weight, bias = self.get("weight", x), self.get("bias", x)
        if x.ndim == 4:
            flat = weight[:, :, 0] if self.reach == 0 else weight.float().sum(dim=2).to(weight.dtype)
            return F.conv2d(x, flat, bias, self.stride, self.padding)
        if self.reach:
            x = self._after(x, past)
        stride = (self.stride if self.reach else 1, self.stride, self.stride)
        return F.conv3d(x, weight, bias, stride, (0, self.padding, self.padding))

    def _after(self, x: Tensor, past: Past | None) -> Tensor:
        """x behind the frames that the first of them sees: of those before, or as many of the first."""
        before = None if past is None else past.get(id(self))
        seen = torch.cat([x[:, :, :1].expand(-1, -1, self.reach, -1, -1) if before is None else before, x], dim=2)
        if past is not None:
            # A convolution that halves the frames begins each piece after the last frame it has counted.
            past[id(self)] = seen[:, :, seen.shape[2] - self.reach // self.stride :].contiguous()
        return seen


class FrameNorm(GroupNorm):
    """Normalises groups of channels of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels, EPS)

    def forward(self, x: Tensor) -> Tensor:
        frames, count = by_frame(x)
        return film(super().forward(frames), count)


class Residual(nn.Module):
    """Two convolutions, each after norm and SiLU, plus the (projected) input."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = FrameNorm(cin), Causal(cin, cout, 3, 3)
        self.norm2, self.conv2 = FrameNorm(cout), Causal(cout, cout, 3, 3)
        if cin != cout:
            self.conv_shortcut = Causal(cin, cout, 1, 1)

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)), past)
        h = self.conv2(F.silu(self.norm2(h)), past)
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Attention(nn.Module):
    """Single-head self-attention over the positions of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_norm = GroupNorm(GROUPS, channels, EPS)
        self.to_q, self.to_k, self.to_v = (Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([Linear(channels, channels)])

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        frames, count = by_frame(x)
        tokens = self.group_norm(frames).flatten(2).transpose(1, 2)
        q, k, v = (layer(tokens).unsqueeze(1) for layer in (self.to_q, self.to_k, self.to_v))
        out = self.to_out[0](by_head(q, k, v).squeeze(1)).transpose(1, 2).reshape(frames.shape)
        return x + film(out, count)


class Down(nn.Module):
    """Halves height and width, and the frames after the first where `time`."""

    def __init__(self, channels: int, time: bool) -> None:
        super().__init__()
        self.conv = Causal(channels, channels, 3 if time else 1, 3, stride=2, padding=0)

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)), past)
        return out


class Up(nn.Module):
    """Doubles height and width, and the frames after the first where `time`: each cell is spread over those it becomes."""

    def __init__(self, channels: int, time: bool) -> None:
        super().__init__()
        self.frames = 2 if time else 1
        self.upscale_conv = Causal(channels, channels * 4 * self.frames, 1, 1)
        self.conv = Causal(channels, channels, 3, 3)

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        first = past is None or id(self) not in past
        if past is not None:
            past[id(self)] = x.new_empty(0)
        cells = self.upscale_conv(x.unsqueeze(2) if x.ndim == 4 else x)
        b, _, t, height, width = cells.shape
        apart = cells.reshape(b, 2, 2, self.frames, -1, t, height, width).permute(0, 4, 5, 3, 6, 1, 7, 2)
        spread = apart.reshape(b, -1, t * self.frames, height * 2, width * 2)
        if self.frames == 2 and first:
            spread = torch.cat([spread[:, :, :1], spread[:, :, 2:]], dim=2)
        out: Tensor = self.conv(spread[:, :, 0] if x.ndim == 4 else spread, past)
        return out


class Level(nn.Module):
    """Residual blocks of one resolution, and the step to the next, where there is one."""

    def __init__(self, cin: int, cout: int, blocks: int, name: str, step: nn.Module | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Residual(cin if i == 0 else cout, cout) for i in range(blocks))
        self.step = name
        if step is not None:
            setattr(self, name, nn.ModuleList([step]))

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        for layer in (*self.resnets, *getattr(self, self.step, ())):
            x = layer(x, past)
        return x


class Middle(nn.Module):
    """What lies between the ways down and up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([Residual(width, width), Residual(width, width)])
        self.attentions = nn.ModuleList([Attention(width)])

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        for layer in (self.resnets[0], self.attentions[0], self.resnets[1]):
            x = layer(x, past)
        return x


class Encoder(nn.Module):
    """[B, in_channels, (T,) H, W] -> [B, 2 * z_channels, (T / 4,) H / factor, W / factor]."""

    def __init__(self, sizes: SeedVR2VaeSizes) -> None:
        super().__init__()
        widths = [sizes.channels * mult for mult in sizes.channel_mult]
        self.conv_in = Causal(sizes.in_channels, widths[0], 3, 3)
        self.down_blocks = nn.ModuleList()
        for i, (cin, cout) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            step = Down(cout, sizes.temporal[i]) if i < len(sizes.temporal) else None
            self.down_blocks.append(Level(cin, cout, sizes.res_blocks, "downsamplers", step))
        self.mid_block, self.conv_norm_out = Middle(widths[-1]), FrameNorm(widths[-1])
        self.conv_out = Causal(widths[-1], 2 * sizes.z_channels, 3, 3)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        h = self.conv_in(x, past)
        for layer in (*self.down_blocks, self.mid_block):
            h = layer(h, past)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(h)), past)
        return out


class Decoder(nn.Module):
    """[B, z_channels, (T,) h, w] -> [B, in_channels, (4 T - 3,) h * factor, w * factor]."""

    def __init__(self, sizes: SeedVR2VaeSizes) -> None:
        super().__init__()
        widths = [sizes.channels * mult for mult in reversed(sizes.channel_mult)]
        self.conv_in, self.mid_block = Causal(sizes.z_channels, widths[0], 3, 3), Middle(widths[0])
        self.up_blocks = nn.ModuleList()
        for i, (cin, cout) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            step = Up(cout, sizes.temporal[-1 - i]) if i < len(sizes.temporal) else None
            self.up_blocks.append(Level(cin, cout, sizes.res_blocks + 1, "upsamplers", step))
        self.conv_norm_out, self.conv_out = FrameNorm(widths[-1]), Causal(widths[-1], sizes.in_channels, 3, 3)

    def forward(self, z: Tensor, past: Past | None = None) -> Tensor:
        h = self.conv_in(z, past)
        for layer in (self.mid_block, *self.up_blocks):
            h = layer(h, past)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(h)), past)
        return out


class SeedVR2Autoencoder(nn.Module):
    """Pixels in [-1, 1] <-> latents, unscaled: pictures [B, C, H, W] or films [B, C, T, H, W]. H and W are multiples of the factor."""

    def __init__(self, sizes: SeedVR2VaeSizes) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(sizes), Decoder(sizes)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The mean of the latent, or with standard normal `noise` a sample around it. Of T frames 1 + 4 n are looked at."""
        return drawn(encoded(self.encoder, x), noise)

    def decode(self, z: Tensor) -> Tensor:
        """The picture, or the 4 T - 3 frames, of a latent."""
        return decoded(self.decoder, z)
