"""`latent_preview`: pictures of a sampling under way."""

from __future__ import annotations

from typing import Any

import torch
from comfy.taesd.taesd import TAESD
from PIL import Image

from backend.diffusion.preview import colours, picture
from backend.engine.context import Preview
from backend.packs.host import HOST

__all__ = ["TAESD", "Latent2RGBPreviewer", "LatentPreviewer", "TAESDPreviewerImpl", "get_previewer", "prepare_callback", "preview_to_image"]

MAX_PREVIEW_RESOLUTION = 512


def preview_to_image(latent_image: Any) -> Image.Image:
    """Colours [H, W, 3] in -1..1 as a picture."""
    return picture(((latent_image.float().cpu() + 1) / 2).clamp(0, 1).movedim(-1, 0))


class LatentPreviewer:
    def decode_latent_to_preview(self, x0: Any) -> Image.Image:
        raise NotImplementedError

    def decode_latent_to_preview_image(self, preview_format: str, x0: Any) -> tuple[str, Image.Image, int]:
        return (preview_format, self.decode_latent_to_preview(x0), MAX_PREVIEW_RESOLUTION)


class Latent2RGBPreviewer(LatentPreviewer):
    """A matrix from latent channels to colours."""

    def __init__(self, latent_rgb_factors: Any, latent_rgb_factors_bias: Any = None, latent_rgb_factors_reshape: Any = None) -> None:
        self.latent_rgb_factors = torch.tensor(latent_rgb_factors).transpose(0, 1)
        self.latent_rgb_factors_bias = None if latent_rgb_factors_bias is None else torch.tensor(latent_rgb_factors_bias)
        self.latent_rgb_factors_reshape = latent_rgb_factors_reshape

    def decode_latent_to_preview(self, x0: Any) -> Image.Image:
        first = x0[0] if x0.ndim == 4 else x0[0, :, 0]
        shown = torch.nn.functional.linear(
            first.movedim(0, -1).float().cpu(), self.latent_rgb_factors.float(), self.latent_rgb_factors_bias
        )
        return preview_to_image(shown)


class TAESDPreviewerImpl(LatentPreviewer):
    """A small decoder [B, C, H, W] -> [B, 3, h, w] in -1..1."""

    def __init__(self, taesd: Any) -> None:
        self.taesd = taesd

    def decode_latent_to_preview(self, x0: Any) -> Image.Image:
        return preview_to_image(self.taesd.decode(x0[:1])[0].movedim(0, -1))


class _Ours(LatentPreviewer):
    def __init__(self, fmt: Any) -> None:
        self.format = fmt

    def decode_latent_to_preview(self, x0: Any) -> Image.Image:
        shown = colours(x0, self.format)
        return picture(shown)


def get_previewer(device: Any, latent_format: Any) -> LatentPreviewer | None:
    """What shows latents of this format, or None."""
    if getattr(HOST.services.settings, "preview_method", "auto") == "none":
        return None
    ours = getattr(latent_format, "ours", latent_format)
    if getattr(ours, "rgb", ()):
        return _Ours(ours)
    factors = getattr(latent_format, "latent_rgb_factors", None)
    return None if factors is None else Latent2RGBPreviewer(factors, getattr(latent_format, "latent_rgb_factors_bias", None))


def prepare_callback(model: Any, steps: int, x0_output_dict: dict[str, Any] | None = None) -> Any:
    """callback(step, x0, x, total): progress of the running node, with a picture that is made only if somebody looks."""
    from comfy.utils import encode_picture

    previewer = get_previewer(None, model.model.latent_format)
    ctx = HOST.context()

    def callback(step: int, x0: Any, x: Any, total_steps: int) -> None:
        if x0_output_dict is not None:
            x0_output_dict["x0"] = x0
        shown = None
        if previewer is not None:
            shown = Preview(lambda: encode_picture(previewer.decode_latent_to_preview_image("JPEG", x0)))
        ctx.progress(step + 1, total_steps, shown)

    return callback


def set_preview_method(override: Any = None) -> None:
    return None
