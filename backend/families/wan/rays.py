"""How cameras move, as rays: for each pixel of each frame where the light comes from (Plücker coordinates; He et al. 2024,
arXiv:2404.02101, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TURN, MOVE = math.pi / 3, 1.5
"""How far a camera turns and moves over a film at a speed of one."""
_POSED = 1280 / 720
"""Width by height of the pictures that focal lengths were measured in."""
_SPAN = 4


@dataclass(frozen=True)
class Motion:
    """Angles about the axes x, y and z, and steps along them, as parts of a whole turn and move. x goes right, y down, z forward."""

    angle: tuple[float, float, float] = (0.0, 0.0, 0.0)
    step: tuple[float, float, float] = (0.0, 0.0, 0.0)


MOTIONS = {
    "Static": Motion(),
    "Pan Up": Motion(step=(0.0, -1.0, 0.0)),
    "Pan Down": Motion(step=(0.0, 1.0, 0.0)),
    "Pan Left": Motion(step=(-1.0, 0.0, 0.0)),
    "Pan Right": Motion(step=(1.0, 0.0, 0.0)),
    "Zoom In": Motion(step=(0.0, 0.0, 2.0)),
    "Zoom Out": Motion(step=(0.0, 0.0, -2.0)),
    "Anti Clockwise (ACW)": Motion(angle=(0.0, 0.0, -1.0)),
    "ClockWise (CW)": Motion(angle=(0.0, 0.0, 1.0)),
}


@dataclass(frozen=True)
class Lens:
    """Focal lengths and the middle of the picture, as parts of its width and height."""

    fx: float
    fy: float
    cx: float
    cy: float

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The same in pixels of a picture of this size, which is cut out of one of the usual shape."""
        if width / height < _POSED:
            return self.fx * height * _POSED, self.fy * height, self.cx * width, self.cy * height
        return self.fx * width, self.fy * width / _POSED, self.cx * width, self.cy * height


def poses(motion: Motion, speed: float, frames: int) -> Tensor:
    """Where the camera is in every frame: [frames, 4, 4], from the camera's coordinates to those of the first frame, float64."""
    share = torch.arange(frames, dtype=torch.float64) / frames * speed
    x, y, z = (torch.tensor(motion.angle, dtype=torch.float64)[:, None] * share * TURN).unbind(0)
    made: Tensor = _about(z, 0, 1) @ _about(y, 2, 0) @ _about(x, 1, 2)
    made[:, :3, 3] = torch.tensor(motion.step, dtype=torch.float64) * share[:, None] * MOVE
    back: Tensor = torch.linalg.inv(made[:1])
    return back @ made


def _about(angle: Tensor, a: int, b: int) -> Tensor:
    """Turns [n, 4, 4] that take axis a towards axis b."""
    made = torch.eye(4, dtype=torch.float64).repeat(len(angle), 1, 1)
    made[:, a, a], made[:, b, b] = angle.cos(), angle.cos()
    made[:, b, a], made[:, a, b] = angle.sin(), -angle.sin()
    return made


def rays(where: Tensor, lens: Lens, width: int, height: int) -> Tensor:
    """Of every pixel: [frames, 6, height, width], the moment of the ray about the first camera, and its direction; float32."""
    fx, fy, cx, cy = lens.pixels(width, height)
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    seen = torch.stack([(columns - cx) / max(fx, 1e-9), (rows - cy) / max(fy, 1e-9), torch.ones_like(rows)], dim=-1)
    where = where.float()
    directions = (seen / seen.norm(dim=-1, keepdim=True)).reshape(1, -1, 3) @ where[:, :3, :3].transpose(1, 2)
    moments = torch.linalg.cross(where[:, None, :3, 3].expand_as(directions), directions)
    return torch.cat([moments, directions], dim=-1).transpose(1, 2).reshape(len(where), 6, height, width)


def packed(rays: Tensor) -> Tensor:
    """Rays [frames, 6, H, W] as those of latent frames, [1, 24, T, H, W]: the first frame four times, then four by four.

    What does not fill four frames at the end is left out.
    """
    whole = torch.cat([rays[:1].repeat(_SPAN, 1, 1, 1), rays[1:]])
    whole = whole[: len(whole) // _SPAN * _SPAN]
    apart = torch.unflatten(whole, 0, (-1, _SPAN)).transpose(1, 2)
    return apart.flatten(1, 2).transpose(0, 1).unsqueeze(0).contiguous()
