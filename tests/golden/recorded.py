"""Nets whose reference is not installed with the tests are held against values recorded from it; weights follow from their names."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def filled(net: nn.Module) -> dict[str, Tensor]:
    """Weights for `net` under its own names; the same for the same names and shapes anywhere. Norms and learnt scales are near one."""
    return {name: weight(name, value.shape) for name, value in net.named_parameters()}


def weight(name: str, shape: torch.Size) -> Tensor:
    random = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode()))) * 0.1
    *_, layer, kind = name.rsplit(".", 2)
    return random + 1 if kind == "gamma" or ("norm" in layer and kind == "weight") else random


def picture(height: int, width: int) -> Tensor:
    """[1, 3, height, width], the same every time."""
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def apart(found: Mapping[str, Tensor], recorded: Mapping[str, list[float]], down: int, across: int) -> float:
    """The largest difference between [.., H, W] maps, looked at every so many rows and columns, and recorded values."""
    return max(
        float((found[name].flatten(0, -3)[..., ::down, ::across].flatten() - torch.tensor(values)).abs().max())
        for name, values in recorded.items()
    )
