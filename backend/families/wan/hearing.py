"""Sounds as Wan's nets hear them: a sound encoder's states, 50 a second, beside the frames of a film."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

ENCODED, FILM = 50, 16
"""States of a sound encoder, and frames of a film, a second."""
HEARD, HEARD_HUMO = 30, 25
"""States a second that frames choose from, for S2V and for HuMo."""
_SPAN = 4
SAMPLES = 640
"""Of a sound at 16 kHz in one frame of HuMo's films."""
_AROUND = 2


def at_rate(states: Tensor, rate: int) -> Tensor:
    """States [N, T, width] at 50 a second as ones at `rate`, between neighbours in a straight line."""
    count = max(1, int(states.shape[1] / ENCODED * rate))
    return F.interpolate(states.transpose(1, 2), size=count, mode="linear", align_corners=True).transpose(1, 2)


def for_film(states: Sequence[Tensor], moments: int) -> Tensor:
    """A sound of S2V: from every layer's states [1, T, width] those of each frame of the film, [1, layers, width, frames].

    Frames come in whole stretches of `moments`; behind the sound's end there is silence.
    """
    heard = at_rate(torch.cat([state.float() for state in states]), HEARD)
    count = heard.shape[1]
    total = (int(count / (moments * HEARD / FILM)) + 1) * moments
    at = (torch.arange(total, dtype=torch.float64) / FILM * HEARD).round().long()
    padded = math.ceil(total / FILM * HEARD)
    at = at.clamp(max=max(padded, count) - 1)
    made = heard[:, at.clamp(max=count - 1)] * (at < count).to(heard)[:, None]
    return made.transpose(1, 2).unsqueeze(0)


def for_humo(states: Sequence[Tensor], samples: int, length: int) -> Tensor:
    """A sound of HuMo: Whisper's 33 states [1, T, width] as means of eight layers and the last one, of the moments around every latent
    frame, [1, frames, 8, 5, width]."""
    every = torch.stack([state.float() for state in states], dim=2)[:, : max(1, samples // SAMPLES) * 2]
    parts = [every[:, :, i : i + 8].mean(dim=2) for i in range(0, 32, 8)]
    heard = torch.stack([at_rate(part, HEARD_HUMO) for part in [*parts, every[:, :, 32]]], dim=2)[0]
    return torch.stack([_around(heard, i) for i in range((length - 1) // _SPAN + 1)]).unsqueeze(0)


def _around(heard: Tensor, frame: int) -> Tensor:
    """The eight moments around a latent frame; silence before and behind the sound. The first frame stands for one of the film alone."""
    silent = 0 if frame else _SPAN - 1
    first = 1 + _SPAN * (frame - 1) - _AROUND if frame else -_AROUND
    at = torch.arange(first, first + _SPAN + 2 * _AROUND - silent)
    inside = ((at >= 0) & (at < len(heard))).to(heard)
    found = heard[at.clamp(0, max(0, len(heard) - 1))] * inside[:, None, None]
    return torch.cat([heard.new_zeros(silent, *heard.shape[1:]), found])
