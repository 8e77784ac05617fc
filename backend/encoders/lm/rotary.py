"""Angles of rotary embeddings for language models: scaled ones, and those of pictures among words."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from backend.encoders.lm.sizes import Rope
from backend.nn.rope import Turn


def rates(rope: Rope, width: int, device: torch.device | None = None) -> Tensor:
    """Angle per place [width / 2], float64."""
    plain = rope.theta ** -(torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)
    if rope.llama is not None:
        return _by_wavelength(plain, *rope.llama)
    if rope.yarn is not None:
        return _yarn(plain, rope.theta, width, *rope.yarn)
    return plain / rope.linear


def _by_wavelength(plain: Tensor, factor: float, low: float, high: float, length: float) -> Tensor:
    """Slow angles are divided by `factor`, fast ones kept, those between blended (Llama 3.1)."""
    turns = plain * length / (2 * math.pi)
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (share + (1 - share) / factor)


def _yarn(plain: Tensor, theta: float, width: int, factor: float, fast: float, slow: float, length: float) -> Tensor:
    """Equation 13 there; attention keeps its temperature, as Ministral 3 was trained."""

    def channel(turns: float) -> float:
        return width * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = max(math.floor(channel(fast)), 0), min(math.ceil(channel(slow)), width - 1)
    at = torch.arange(len(plain), dtype=torch.float64, device=plain.device)
    share = 1 - ((at - low) / max(high - low, 1e-3)).clamp(0, 1)
    return plain * (share + (1 - share) / factor)


def turn(places: Tensor, rope: Rope, width: int, sections: tuple[int, ...] = (), interleaved: bool = False) -> Turn:
    """places [B, T] or, by time, row and column, [3, B, T] -> cosines and sines [B, 1, T, width / 2]."""
    rate = rates(rope, width, places.device)
    if places.ndim == 3 and sections:
        axis = torch.tensor(axes(sections, interleaved), device=places.device)
        by_axis = places.permute(1, 2, 0)[:, :, axis]
    else:
        by_axis = (places[0] if places.ndim == 3 else places).unsqueeze(-1)
    angles = (by_axis.double() * rate).unsqueeze(1)
    return angles.cos().float(), angles.sin().float()


def axes(sections: tuple[int, ...], interleaved: bool) -> list[int]:
    """Which of time, row and column each angle turns by."""
    if not interleaved:
        return [axis for axis, count in enumerate(sections) for _ in range(count)]
    _, rows, columns = sections
    return [1 if i % 3 == 1 and i < 3 * rows else 2 if i % 3 == 2 and i < 3 * columns else 0 for i in range(sum(sections))]
