"""HuMo (Chen et al. 2025, arXiv:2509.08519): people from a picture that move with a sound."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import whole
from backend.families.wan.net import EPS, PATCH, Attention, Block, Line, Places, Shown, Told, WanNet, WanSizes
from backend.nn.layers import LayerNorm, Linear


@dataclass(frozen=True)
class HumoSizes(WanSizes):
    moments: int = 8
    """Of the sound that are heard around a frame."""
    states: int = 5
    """Means over layers of the sound encoder that are heard together."""
    sound: int = 1280
    """Width of those."""
    hidden_sound: int = 512
    tokens: int = 16
    """That a frame's sound becomes."""
    heard: int = 1536
    """Width of them."""


class Layered(nn.Module):
    """A layer, as the files call it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class Hearing(nn.Module):
    """A sound [B, frames, moments, states, sound] -> [B, frames, tokens, heard]."""

    def __init__(self, sizes: HumoSizes) -> None:
        super().__init__()
        self.tokens, hidden = sizes.tokens, sizes.hidden_sound
        self.audio_proj_glob_1 = Layered(Linear(sizes.moments * sizes.states * sizes.sound, hidden))
        self.audio_proj_glob_2 = Layered(Linear(hidden, hidden))
        self.audio_proj_glob_3 = Layered(Linear(hidden, sizes.tokens * sizes.heard))
        self.audio_proj_glob_norm = Layered(LayerNorm(sizes.heard))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.audio_proj_glob_2(F.relu(self.audio_proj_glob_1(x.flatten(2)))))
        out: Tensor = self.audio_proj_glob_norm(torch.unflatten(self.audio_proj_glob_3(h), 2, (self.tokens, -1)))
        return out


class Listening(nn.Module):
    """Each frame's tokens look at the sound around that frame."""

    def __init__(self, sizes: HumoSizes) -> None:
        super().__init__()
        self.norm1_audio = LayerNorm(sizes.width, EPS)
        self.audio_cross_attn = Attention(sizes.width, sizes.heads, context=sizes.heard)

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        frames = torch.unflatten(self.norm1_audio(x), 1, (audio.shape[1], -1)).flatten(0, 1)
        heard: Tensor = self.audio_cross_attn(frames, audio.flatten(0, 1))
        return x + heard.reshape(x.shape)


class ListeningBlock(Block):
    """A block that hears a sound too."""

    def __init__(self, sizes: HumoSizes) -> None:
        super().__init__(sizes)
        self.audio_cross_attn_wrapper = Listening(sizes)

    def listened(self, x: Tensor, told: Told) -> Tensor:
        x = super().listened(x, told)
        return x if told.audio is None else self.audio_cross_attn_wrapper(x, told.audio)


class HumoNet(WanNet):
    """Shown besides: `sound` [B, frames, moments, states, sound], and `person` [B, shown, 1, H, W], a picture behind the film."""

    def __init__(self, sizes: HumoSizes) -> None:
        super().__init__(sizes)
        self.audio_proj = Hearing(sizes)

    def block(self, sizes: WanSizes) -> Block:
        assert isinstance(sizes, HumoSizes)
        return ListeningBlock(sizes)

    def line(self, x: Tensor, t: Tensor, shown: Shown, places: Places) -> Line:
        line = super().line(x, t, shown, places)
        if "person" not in shown:
            return line
        person = whole(shown["person"])
        frames, rows, columns = person.shape[2], x.shape[-2] // PATCH, x.shape[-1] // PATCH
        behind = line.behind(self.patch_embedding(person), places(frames, rows, columns, float(line.frames)))
        return replace(behind, frames=line.frames + frames)

    def through(self, line: Line, told: Told, shown: Shown) -> Tensor:
        if "sound" in shown:
            sound = shown["sound"]
            frames = line.frames - (shown["person"].shape[2] if "person" in shown else 0)
            sound = F.pad(sound[:, :frames], (0, 0, 0, 0, 0, 0, 0, line.frames - min(frames, sound.shape[1])))
            told = replace(told, audio=self.audio_proj(sound))
        return super().through(line, told, shown)
