"""Wan S2V (Gao et al. 2025, arXiv:2508.18621): people move and speak with a sound; a film before goes in with ever less detail."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import whole
from backend.families.wan.animate import Named, TokensOfTime
from backend.families.wan.net import PATCH, Attention, Line, PatchEmbedding, Places, Shown, Told, WanNet, WanSizes
from backend.nn.layers import Embedding, Layer, Linear
from backend.nn.modulate import modulated

LISTENS = (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)
"""Blocks after which the film hears the sound."""
BEFORE = (1, 2, 16)
"""Frames of the film before that are kept whole, at half and at a quarter of their size, from the last one back."""
REFERENCE, GAP = 30, 9
"""The picture of the person stands at this frame, or so many behind the film's last where that is later."""
PER_FRAME = 4
"""Moments of the sound in one frame of the latent."""
_EPS = 1e-5


@dataclass(frozen=True)
class SoundSizes(WanSizes):
    sound: int = 1024
    """Width of the sound encoder's states."""
    states: int = 25
    """Layers of the sound encoder that are heard together."""
    tokens: int = 4
    """Tokens of a moment, and one that is always the same."""
    listens: tuple[int, ...] = LISTENS


class Block3d(Layer):
    """Blocks of a film [B, C, T, H, W] of (time, side, side) as tokens; weight [width, C, time, side, side]."""

    def __init__(self, channels: int, width: int, time: int, side: int) -> None:
        super().__init__()
        self.stride = (time, side, side)
        self.weight = nn.Parameter(torch.empty(width, channels, *self.stride))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self.stride[2]:
            return x.new_empty(len(x), 0, self.bias.shape[0])
        return F.conv3d(x, self.get("weight", x), self.get("bias", x), stride=self.stride).flatten(2).transpose(1, 2)


class Packer(nn.Module):
    """The film before (Zhang & Agrawala 2025, arXiv:2504.12626): the further back, the larger are the blocks that make a token."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = PatchEmbedding(channels, width)
        self.proj_2x, self.proj_4x = Block3d(channels, width, 2, 2 * PATCH), Block3d(channels, width, 4, 4 * PATCH)

    def forward(self, film: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """film [B, C, T, H, W] -> tokens and where they stand: nearest first."""
        height, width = film.shape[-2:]
        film = film[:, :, -sum(BEFORE) :]
        film = F.pad(film, (0, 0, 0, 0, sum(BEFORE) - film.shape[2], 0))
        far, near, last = torch.split(film, list(BEFORE[::-1]), dim=2)
        rows, columns = (height + 1) // PATCH, (width + 1) // PATCH
        at = [
            places(1, rows, columns, -1.0),
            places(1, rows, columns, -3.0, (height // 4, width // 4)),
            places(4, rows, columns, -19.0, (height // 8, width // 8)),
        ]
        return torch.cat([self.proj(whole(last)), self.proj_2x(near), self.proj_4x(far)], dim=1), torch.cat(at)


class Hearing(TokensOfTime):
    """A sound [B, moments, sound] as tokens of every frame: [B, frames, tokens + 1, width], and what holds for all of a frame."""

    def __init__(self, sizes: SoundSizes) -> None:
        width = sizes.width
        super().__init__(sizes.sound, (width // 4, width // 2, width), sizes.tokens, width)
        self.conv1_global = Named(sizes.sound, width // 4)
        self.final_linear = Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        everywhere = self.final_linear(self.conv3(self.conv2(self.conv1_global(x))))
        return everywhere, self.together(self.apart(x))


class AudioEncoder(Layer):
    """States of a sound encoder [B, states, sound, moments] -> as `Hearing`, of their weighted mean."""

    def __init__(self, sizes: SoundSizes) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(1, sizes.states, 1, 1))
        self.encoder = Hearing(sizes)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        weights = F.silu(self.get("weights", states))
        mean = (states * weights / weights.sum(dim=1, keepdim=True)).sum(dim=1)
        heard: tuple[Tensor, Tensor] = self.encoder(mean.transpose(1, 2))
        return heard


class Steered(nn.Module):
    """Tokens normalised, scaled and shifted by a vector [B, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = Linear(width, 2 * width)

    def forward(self, x: Tensor, by: Tensor) -> Tensor:
        shift, scale = self.linear(F.silu(by)).unsqueeze(1).chunk(2, dim=-1)
        return modulated(x, shift, scale, _EPS)


class Injector(nn.Module):
    """Each frame's tokens look at the sound of that frame."""

    def __init__(self, sizes: SoundSizes) -> None:
        super().__init__()
        self.injector = nn.ModuleList(Attention(sizes.width, sizes.heads) for _ in sizes.listens)
        self.injector_adain_layers = nn.ModuleList(Steered(sizes.width) for _ in sizes.listens)

    def forward(self, film: Tensor, at: int, heard: tuple[Tensor, Tensor]) -> Tensor:
        """film [B, frames * n, width] -> what is added to it."""
        everywhere, tokens = heard
        frames = torch.unflatten(film, 1, (tokens.shape[1], -1)).flatten(0, 1)
        asked = self.injector_adain_layers[at](frames, everywhere.flatten(0, 1))
        out: Tensor = self.injector[at](asked, tokens.flatten(0, 1))
        return out.reshape(film.shape)


class SoundNet(WanNet):
    """Shown besides: `states` [B, states, sound, moments] of a sound, `pose` [B, channels, T, H, W], `person` [B, channels, 1, H, W] and
    `before` [B, channels, frames, H, W], the film that goes on."""

    def __init__(self, sizes: SoundSizes) -> None:
        super().__init__(sizes)
        self.listens = {block: at for at, block in enumerate(sizes.listens)}
        self.trainable_cond_mask = Embedding(3, sizes.width)
        self.casual_audio_encoder = AudioEncoder(sizes)
        self.cond_encoder = PatchEmbedding(sizes.channels, sizes.width)
        self.audio_injector = Injector(sizes)
        self.frame_packer = Packer(sizes.channels, sizes.width)

    def embedded(self, x: Tensor, shown: Shown) -> Tensor:
        h = super().embedded(x, shown)
        return h if "pose" not in shown else h + self.cond_encoder(whole(shown["pose"]))

    def line(self, x: Tensor, t: Tensor, shown: Shown, places: Places) -> Line:
        line = super().line(x, t, shown, places)
        kinds = self.trainable_cond_mask(torch.arange(3, device=x.device), x.dtype)
        rows, columns = x.shape[-2] // PATCH, x.shape[-1] // PATCH
        more, at = [], []
        if "person" in shown:
            person = whole(shown["person"])
            more.append(self.patch_embedding(person) + kinds[1])
            at.append(places(person.shape[2], rows, columns, float(max(REFERENCE, line.frames + GAP))))
        if "before" in shown:
            packed, where = self.frame_packer(shown["before"], places)
            more.append(packed + kinds[2])
            at.append(where)
        line = replace(line, h=line.h + kinds[0])
        if not more:
            return line
        h = torch.cat(more, dim=1)
        times = torch.cat([line.times, torch.zeros_like(line.times[:, :1])], dim=1)  # what is shown is clean
        return replace(
            line, h=torch.cat([line.h, h], dim=1), places=torch.cat([line.places, *at]), times=times, counts=(*line.counts, h.shape[1])
        )

    def through(self, line: Line, told: Told, shown: Shown) -> Tensor:
        h, heard = line.h, None
        if "states" in shown:
            heard = self.casual_audio_encoder(_fitted(shown["states"], line.frames * PER_FRAME))
        film = line.counts[0]
        for i in range(len(self.blocks)):
            h = self.step(i, h, told)
            if heard is not None and i in self.listens:
                h = torch.cat([h[:, :film] + self.audio_injector(h[:, :film], self.listens[i], heard), h[:, film:]], dim=1)
        return h


def _fitted(states: Tensor, moments: int) -> Tensor:
    """Of so many moments; silence behind the sound's end."""
    return F.pad(states, (0, moments - states.shape[3]))
