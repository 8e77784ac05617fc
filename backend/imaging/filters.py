"""Convolutions, tone curves and channel mixes on images `[B, H, W, C]` and planar latents `[B, C, H, W]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

# ITU-R BT.601 luma with full-range 8-bit JFIF scaling of the two colour differences.
_TO_YUV = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


def gaussian_kernel(size: int, sigma: float, like: Tensor) -> Tensor:
    """Normalised Gaussian `[size, size]`; `sigma` is in half-widths of the kernel (its corners lie at +-1)."""
    axis = torch.linspace(-1, 1, size, device=like.device, dtype=like.dtype)
    kernel = torch.exp(-(axis[:, None].square() + axis.square()) / (2 * sigma * sigma))
    return kernel / kernel.sum()


def convolve(planes: Tensor, kernel: Tensor) -> Tensor:
    """Every plane of `[B, C, H, W]` with `[k, k]`; borders are mirrored (or held, where the picture is smaller than the kernel)."""
    radius = kernel.shape[-1] // 2
    mode = "reflect" if radius < min(planes.shape[-2:]) else "replicate"
    padded = F.pad(planes, (radius,) * 4, mode=mode)
    channels = planes.shape[1]
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def blur(planes: Tensor, radius: int, sigma: float) -> Tensor:
    """Gaussian blur with a kernel of side 2 radius + 1 (see `gaussian_kernel` for sigma)."""
    return convolve(planes, gaussian_kernel(2 * radius + 1, sigma, planes))


def sharpen(planes: Tensor, radius: int, sigma: float, alpha: float) -> Tensor:
    """Unsharp mask: x + 10 alpha (x - blur(x))."""
    kernel = gaussian_kernel(2 * radius + 1, sigma, planes) * (-10 * alpha)
    kernel[radius, radius] += 1 - kernel.sum()
    return convolve(planes, kernel)


def sharpen_directions(latent: Tensor, radius: int, sigma: float, alpha: float) -> Tensor:
    """`sharpen` the unit vectors of a latent `[B, C, H, W]` and keep each position's magnitude."""
    magnitude: Tensor = torch.linalg.vector_norm(latent, dim=1, keepdim=True) + 1e-6
    return sharpen(latent / magnitude, radius, sigma, alpha) * magnitude


def tonemap_reinhard(latent: Tensor, multiplier: float) -> Tensor:
    """Compress magnitudes m of a latent `[B, C, H, W]` to m / (1 + m / top), top = (mean + 5 std) multiplier.

    Reinhard et al., "Photographic tone reproduction for digital images" (2002), eq. 3, on the length of each position's vector.
    A multiplier of 0 gives zeros.
    """
    magnitude: Tensor = torch.linalg.vector_norm(latent, dim=1, keepdim=True) + 1e-10
    mean = magnitude.mean(dim=(1, 2, 3), keepdim=True)
    top = (magnitude.std(dim=(1, 2, 3), keepdim=True) * 5 + mean) * multiplier
    return latent / magnitude * (magnitude * top / (magnitude + top))


def posterise_palette(image: Tensor, colours: int, dither: str) -> Tensor:
    """One image `[H, W, 3]` in at most `colours` colours (median cut), dithered: none, floyd-steinberg or bayer-2/4/8/16."""
    import numpy as np
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte()
    picture = Image.fromarray(pixels.cpu().numpy())
    palette = picture.quantize(colours)
    if dither.startswith("bayer"):
        order = int(dither.split("-")[-1])
        shifted = pixels.float() + _spacing(palette, colours) * (
            bayer(order, pixels.shape[0], pixels.shape[1])[..., None].to(pixels.device) - 0.5
        )
        picture = Image.fromarray(shifted.round().clamp(0, 255).byte().cpu().numpy())
    how = Image.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Image.Dither.NONE
    mapped = picture.quantize(colors=colours, palette=palette, dither=how).convert("RGB")
    return torch.from_numpy(np.asarray(mapped).copy()).to(image.device).float() / 255


def _spacing(palette: Image.Image, colours: int) -> float:
    """How far apart neighbouring palette colours are per channel, on average: what ordered dithering has to bridge."""
    listed = torch.tensor((palette.getpalette() or [])[: 3 * colours], dtype=torch.float32).reshape(-1, 3)
    entries = torch.unique(listed, dim=0)
    if len(entries) < 2:
        return 0.0
    distances = torch.cdist(entries, entries) + torch.diag(torch.full((len(entries),), torch.inf))
    return float(distances.min(dim=1).values.mean()) / 3**0.5


def bayer(order: int, height: int, width: int) -> Tensor:
    """Ordered-dither thresholds (Bayer 1973) in [0, 1), tiled to `[height, width]`; `order` is 2, 4, 8 or 16."""
    matrix = torch.zeros(1, 1)
    while matrix.shape[0] < order:
        matrix = torch.cat([torch.cat([4 * matrix, 4 * matrix + 2], 1), torch.cat([4 * matrix + 3, 4 * matrix + 1], 1)], 0)
    tiled = matrix.repeat(-(-height // order), -(-width // order))[:height, :width]
    return (tiled + 0.5) / (order * order)


def to_yuv(images: Tensor) -> Tensor:
    """RGB `[..., 3]` in 0..1 to Y, Cb, Cr in 0..1 (BT.601, the two differences centred on 0.5)."""
    matrix = images.new_tensor(_TO_YUV)
    return images[..., :3] @ matrix.T + images.new_tensor([0.0, 0.5, 0.5])


def from_yuv(yuv: Tensor) -> Tensor:
    """Inverse of `to_yuv`, clamped to 0..1."""
    matrix: Tensor = torch.linalg.inv(torch.tensor(_TO_YUV, dtype=torch.float64)).to(yuv)
    return ((yuv - yuv.new_tensor([0.0, 0.5, 0.5])) @ matrix.T).clamp(0, 1)
