"""Wan with a camera: rays of light that meet each pixel are laid over the film's tokens (the camera adapter of Wan Fun)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import whole
from backend.families.wan.net import PATCH, Shown, WanNet, WanSizes
from backend.nn.layers import Conv2d


@dataclass(frozen=True)
class CameraSizes(WanSizes):
    rays: int = 24 * 64
    """Numbers of the rays through a cell of the latent: six for each pixel of four frames."""


class Residual(nn.Module):
    """Two convolutions, and what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv2d(width, width, 3, padding=1), Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        more: Tensor = self.conv2(F.relu(self.conv1(x)))
        return x + more


class Adapter(nn.Module):
    """Rays [N, rays, H, W] -> [N, width, H / 2, W / 2]."""

    def __init__(self, rays: int, width: int) -> None:
        super().__init__()
        self.conv = Conv2d(rays, width, PATCH, stride=PATCH)
        self.residual_blocks = nn.ModuleList([Residual(width)])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.residual_blocks[0](self.conv(x))
        return out


class CameraNet(WanNet):
    """Shown besides: `rays` [B, rays, T, H, W]."""

    def __init__(self, sizes: CameraSizes) -> None:
        super().__init__(sizes)
        self.control_adapter = Adapter(sizes.rays, sizes.width)

    def embedded(self, x: Tensor, shown: Shown) -> Tensor:
        h = super().embedded(x, shown)
        if "rays" not in shown:
            return h
        made: Tensor = self.control_adapter(whole(shown["rays"]).transpose(1, 2).flatten(0, 1))
        return h + made.flatten(2).transpose(1, 2).reshape(h.shape)
