"""Pictures of outlines and structure for models that are steered by them; none of these needs a net. Images are [B, H, W, 3] in 0..1."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_LUMA = (0.299, 0.587, 0.114)
_ROWS = 1 << 18


def grey(images: Tensor) -> Tensor:
    """[B, H, W, C] -> luma [B, 1, H, W]."""
    planes = images[..., :3].movedim(-1, 1)
    if planes.shape[1] == 1:
        return planes
    weights = torch.tensor(_LUMA, dtype=planes.dtype, device=planes.device).reshape(1, 3, 1, 1)
    return (planes * weights).sum(1, keepdim=True)


def as_images(planes: Tensor) -> Tensor:
    """[B, 1, H, W] -> grey images."""
    return planes.movedim(1, -1).expand(-1, -1, -1, 3).contiguous()


def gaussian(planes: Tensor, deviation: float, size: int | None = None) -> Tensor:
    """Blurred [B, C, H, W]; the kernel reaches three deviations (or is `size` wide), borders are reflected where they can be."""
    half = (size or 2 * max(1, math.ceil(3 * deviation)) + 1) // 2
    at = torch.arange(-half, half + 1, device=planes.device, dtype=planes.dtype)
    line = torch.exp(-0.5 * (at / deviation) ** 2)
    line = (line / line.sum()).reshape(1, 1, -1).expand(planes.shape[1], 1, -1)
    for kernel, pad in ((line[:, :, None, :], (half, half, 0, 0)), (line[:, :, :, None], (0, 0, half, half))):
        mode = "reflect" if planes.shape[-1 if pad[0] else -2] > half else "replicate"
        planes = F.conv2d(F.pad(planes, pad, mode=mode), kernel, groups=planes.shape[1])
    return planes


def canny(images: Tensor, low: float, high: float) -> Tensor:
    """Edges [B, 1, H, W], 1 or 0 (Canny 1986): blur, Sobel gradient, thinning to maxima across the edge, and of what is above `low` only
    what hangs together with something above `high`."""
    planes = gaussian(grey(images), 1.0, 5)
    smooth = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=planes.device, dtype=planes.dtype)
    dx, dy = F.conv2d(smooth, sobel[None, None]), F.conv2d(smooth, sobel.T[None, None])
    strength = (dx * dx + dy * dy + 1e-6).sqrt()
    thin = _thinned(strength, dx, dy)
    return _connected(thin > low, thin > high).to(planes.dtype)


def _thinned(strength: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """`strength` where it is the largest of itself and its two neighbours along the gradient, else 0."""
    way = (torch.atan2(dy, dx) * (4 / math.pi)).round().long() % 4
    padded = F.pad(strength, (1, 1, 1, 1))
    height, width = strength.shape[-2:]

    def shifted(y: int, x: int) -> Tensor:
        return padded[..., 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    kept = torch.zeros_like(strength)
    for direction, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        largest = (way == direction) & (strength > shifted(y, x)) & (strength > shifted(-y, -x))
        kept = torch.where(largest, strength, kept)
    return kept


def _connected(weak: Tensor, strong: Tensor) -> Tensor:
    """The parts of `weak` (8-connected) that hold something `strong`."""
    from scipy.ndimage import label

    out = torch.zeros_like(weak)
    for b in range(weak.shape[0]):
        labels, count = label(weak[b, 0].cpu().numpy(), structure=[[1] * 3] * 3)
        parts = torch.from_numpy(labels).to(weak.device)
        wanted = torch.zeros(count + 1, dtype=torch.bool, device=weak.device)
        wanted[parts[strong[b, 0]]] = True
        wanted[0] = False
        out[b, 0] = wanted[parts]
    return out


def xdog(
    images: Tensor, deviation: float = 0.5, ratio: float = 4.5, sharpness: float = 19.0, threshold: float = 0.01, slope: float = 10.0
) -> Tensor:
    """Drawn lines [B, 1, H, W], 1 on paper and 0 in ink: the extended difference of Gaussians (Winnemöller et al. 2012), whose two blurs
    have deviations `deviation` and `ratio` times that."""
    planes = grey(images)
    difference = (1 + sharpness) * gaussian(planes, deviation) - sharpness * gaussian(planes, deviation * ratio)
    return torch.where(difference >= threshold, torch.ones_like(planes), 1 + torch.tanh(slope * (difference - threshold))).clamp(0, 1)


def coarse(images: Tensor, cells: int) -> Tensor:
    """The picture as areas of one colour, about `cells` pixels wide: the mean, enlarged again."""
    planes = images[..., :3].movedim(-1, 1)
    height, width = planes.shape[-2:]
    small = F.interpolate(planes, (max(1, height // cells), max(1, width // cells)), mode="area")
    return F.interpolate(small, (height, width), mode="nearest").movedim(1, -1).contiguous()


def softened(images: Tensor, down: float) -> Tensor:
    """The picture without its finest detail: made smaller `down` times and enlarged again, for tile models."""
    planes = images[..., :3].movedim(-1, 1)
    height, width = planes.shape[-2:]
    small = F.interpolate(planes, (max(1, round(height / down)), max(1, round(width / down))), mode="area")
    return F.interpolate(small, (height, width), mode="bicubic", align_corners=False).clamp(0, 1).movedim(1, -1).contiguous()


PALETTE = {  # colours of the ADE20K classes that segmentation models draw most, after the palette published with that data set
    "wall": (120, 120, 120), "building": (180, 120, 120), "sky": (6, 230, 230), "floor": (80, 50, 50), "tree": (4, 200, 3),
    "ceiling": (120, 120, 80), "road": (140, 140, 140), "bed": (204, 5, 255), "window": (230, 230, 230), "grass": (4, 250, 7),
    "cabinet": (224, 5, 255), "sidewalk": (235, 255, 7), "person": (150, 5, 61), "earth": (120, 120, 70), "door": (8, 255, 51),
    "table": (255, 6, 82), "mountain": (143, 255, 140), "plant": (204, 255, 4), "curtain": (255, 51, 7), "chair": (204, 70, 3),
    "car": (0, 102, 200), "water": (61, 230, 250),
}  # fmt: skip


def nearest_colours(images: Tensor, palette: Tensor) -> Tensor:
    """Every pixel as the nearest of the colours [n, 3] in 0..1."""
    flat = images[..., :3].reshape(-1, 3)
    found = torch.cat([torch.cdist(flat[i : i + _ROWS], palette).argmin(1) for i in range(0, len(flat), _ROWS)])
    return palette[found].reshape(*images.shape[:-1], 3)
