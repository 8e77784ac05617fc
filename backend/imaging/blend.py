"""Blend modes and Porter-Duff compositing on images in 0..1."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MODES = ("normal", "multiply", "screen", "overlay", "soft_light", "difference")
_Coverage = Callable[[Tensor, Tensor], tuple[Tensor | float, Tensor | float]]


def blend(under: Tensor, over: Tensor, mode: str) -> Tensor:
    """What `over` makes of `under`; same shapes. Formulas as in the W3C Compositing and Blending Level 1 text. ValueError: unknown mode."""
    if mode == "normal":
        return over
    if mode == "multiply":
        return under * over
    if mode == "screen":
        return 1 - (1 - under) * (1 - over)
    if mode == "overlay":
        return torch.where(under <= 0.5, 2 * under * over, 1 - 2 * (1 - under) * (1 - over))
    if mode == "soft_light":
        curve = torch.where(under <= 0.25, ((16 * under - 12) * under + 4) * under, under.clamp_min(0).sqrt())
        return torch.where(over <= 0.5, under - (1 - 2 * over) * under * (1 - under), under + (2 * over - 1) * (curve - under))
    if mode == "difference":
        return under - over
    raise ValueError(f"unknown blend mode {mode!r}; known: {', '.join(MODES)}")


# Fractions (Fs, Fd) of the premultiplied source and destination that are kept (Porter & Duff, "Compositing Digital Images", 1984).
_COVERAGE: dict[str, _Coverage] = {
    "CLEAR": lambda s, d: (0.0, 0.0),
    "DST": lambda s, d: (0.0, 1.0),
    "DST_ATOP": lambda s, d: (1 - d, s),
    "DST_IN": lambda s, d: (0.0, s),
    "DST_OUT": lambda s, d: (0.0, 1 - s),
    "DST_OVER": lambda s, d: (1 - d, 1.0),
    "SRC": lambda s, d: (1.0, 0.0),
    "SRC_ATOP": lambda s, d: (d, 1 - s),
    "SRC_IN": lambda s, d: (d, 0.0),
    "SRC_OUT": lambda s, d: (1 - d, 0.0),
    "SRC_OVER": lambda s, d: (1.0, 1 - s),
    "XOR": lambda s, d: (1 - d, 1 - s),
}
PORTER_DUFF = (
    "ADD", "CLEAR", "DARKEN", "DST", "DST_ATOP", "DST_IN", "DST_OUT", "DST_OVER", "LIGHTEN", "MULTIPLY", "OVERLAY", "SCREEN",
    "SRC", "SRC_ATOP", "SRC_IN", "SRC_OUT", "SRC_OVER", "XOR",
)  # fmt: skip


def porter_duff(source: Tensor, source_alpha: Tensor, destination: Tensor, destination_alpha: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """Composite one straight-alpha picture with another: colours `[..., C]` and alphas `[..., 1]`, all of one size.

    Returns straight colours (black where nothing is left) and alpha. ValueError: unknown mode.
    """
    s, d = source * source_alpha, destination * destination_alpha  # premultiplied
    colour, alpha = _composed(s, source_alpha, d, destination_alpha, mode)
    straight = torch.where(alpha > 1e-5, colour / alpha.clamp_min(1e-5), torch.zeros_like(colour))
    return straight.clamp(0, 1), alpha.clamp(0, 1)


def _composed(s: Tensor, sa: Tensor, d: Tensor, da: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """Premultiplied colour and alpha."""
    if mode in _COVERAGE:
        fs, fd = _COVERAGE[mode](sa, da)
        return s * fs + d * fd, sa * fs + da * fd
    union = sa + da - sa * da
    if mode == "ADD":
        return (s + d).clamp(0, 1), (sa + da).clamp(0, 1)
    if mode == "MULTIPLY":
        return s * d, sa * da
    if mode == "SCREEN":
        return s + d - s * d, union
    if mode == "DARKEN":
        return (1 - da) * s + (1 - sa) * d + torch.minimum(s * da, d * sa), union
    if mode == "LIGHTEN":
        return (1 - da) * s + (1 - sa) * d + torch.maximum(s * da, d * sa), union
    if mode == "OVERLAY":
        inside = torch.where(2 * d < da, 2 * s * d, sa * da - 2 * (da - d) * (sa - s))
        return inside + s * (1 - da) + d * (1 - sa), union
    raise ValueError(f"unknown compositing mode {mode!r}; known: {', '.join(PORTER_DUFF)}")
