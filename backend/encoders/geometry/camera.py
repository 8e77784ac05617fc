"""Where the camera stood: the focal length, and the shift that makes points fit the plane of view (Wang et al. 2024, arXiv:2410.19115)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from backend.encoders.geometry.uv import plane_of_view

Floats = npt.NDArray[np.float64]
SEEN_AS = (64, 64)
"""So many points tell as much as all of them."""
TOLERANCE = 1e-3


def focal_and_shift(points: Tensor, sure: Tensor | None = None, focal: float | None = None) -> tuple[float, float]:
    """Of points [H, W, 3] (across, down, away) the focal length, in half diagonals of the picture, and what has to be added to how far away
    they are. `sure` [H, W] says which count; with `focal` given only the shift is looked for. Too few points: (1, 0)."""
    from scipy.optimize import least_squares  # here: scipy is slow to import

    height, width = points.shape[:2]
    plane = plane_of_view(height, width, width / height)
    few, at = (F.interpolate(x.movedim(-1, 0)[None].float(), SEEN_AS)[0].movedim(0, -1).reshape(-1, x.shape[-1]) for x in (points, plane))
    if sure is not None:
        counts = F.interpolate(sure[None, None].float(), SEEN_AS).flatten() > 0
        few, at = few[counts], at[counts]
    if len(few) < 2:
        return focal or 1.0, 0.0
    xy, away, want = (x.double().numpy() for x in (few[:, :2], few[:, 2], at))

    def seen(shift: Floats) -> tuple[Floats, float]:
        flat = xy / (away + shift)[:, None]
        best = focal if focal is not None else float((flat * want).sum() / np.square(flat).sum())
        return flat, best

    def error(shift: Floats) -> Floats:
        flat, best = seen(shift)
        apart: Floats = (best * flat - want).ravel()
        return apart

    with np.errstate(all="ignore"):
        shift = least_squares(error, x0=np.zeros(1), ftol=TOLERANCE, method="lm").x
        found = seen(shift)[1]
    return (found, float(shift[0])) if np.isfinite(found) and np.isfinite(shift[0]) else (focal or 1.0, 0.0)


def on_rays(depth: Tensor, across: float, down: float) -> Tensor:
    """Points [H, W, 3] at `depth` [H, W] on the rays of a camera whose focal lengths are in widths and heights of the picture."""
    height, width = depth.shape
    rows = (torch.arange(height) + 0.5) / height - 0.5
    columns = (torch.arange(width) + 0.5) / width - 0.5
    return torch.stack([columns.expand(height, -1) / across * depth, rows[:, None].expand(-1, width) / down * depth, depth], dim=-1)
