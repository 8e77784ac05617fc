"""Rotary position embedding (Su et al. 2021): pairs of a head's channels turn by angles that grow with the token's place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Turn = tuple[Tensor, Tensor]
"""(cos, sin) of every angle, float32, [T, d / 2]; or [B, 1, T, d / 2] where places differ within a batch."""


def angles(places: Tensor, width: int, theta: float) -> Tensor:
    """places [..., T] -> angles [..., T, width / 2], float64: place * theta^(-2 i / width)."""
    rates = theta ** -(torch.arange(0, width, 2, dtype=torch.float64, device=places.device) / width)
    return places.double().unsqueeze(-1) * rates


def turn(places: Tensor, widths: Sequence[int], theta: float) -> Turn:
    """The turn of tokens at places [..., T, axes] in several directions; `widths` of a head's channels go to each, in order."""
    every = torch.cat([angles(places[..., axis], width, theta) for axis, width in enumerate(widths)], dim=-1)
    return every.cos().float(), every.sin().float()


def turned(x: Tensor, by: Turn) -> Tensor:
    """x [B, H, T, d], whose neighbouring channels make pairs, turned; computed in float32."""
    cos, sin = by
    pairs = torch.unflatten(x.float(), -1, (-1, 2))
    if torch.compiler.is_compiling():  # compilers write one pass of their own, but none for complex numbers
        a, b = pairs.unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).to(x.dtype)
    out = torch.view_as_complex(pairs) * torch.complex(cos, sin)
    return torch.view_as_real(out).flatten(-2).to(x.dtype)


def turned_halves(x: Tensor, by: Turn) -> Tensor:
    """As `turned`, where channel i makes a pair with channel i + d / 2."""
    cos, sin = by
    seen, half = x.float(), x.shape[-1] // 2
    out = seen * torch.cat([cos, cos], dim=-1)
    out[..., :half].addcmul_(seen[..., half:], sin, value=-1)
    out[..., half:].addcmul_(seen[..., :half], sin)
    return out.to(x.dtype)


def grid(height: int, width: int, first: float = 0.0, device: torch.device | None = None) -> Tensor:
    """Places [height * width, 3] of a picture's tokens, row by row: (first, row, column), float32."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device), torch.arange(width, dtype=torch.float32, device=device), indexing="ij"
    )
    return torch.stack([torch.full_like(rows, first), rows, columns], dim=-1).flatten(0, 1)
