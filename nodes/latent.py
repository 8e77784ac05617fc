"""Latents: empty ones, sizes, batches, turning, blending."""

from __future__ import annotations

from functools import partial

import torch

from backend.engine.context import Context
from backend.graph.declare import Choice, Float, Int, node
from backend.imaging import composite, latents
from backend.imaging.resize import CROPS, LATENT_METHODS, resize
from nodes.types import MAX_SIDE, Latent, Mask

latent_node = partial(node, module="nodes")


@latent_node("EmptyLatentImage", title="Empty Latent Image", category="latent", output_tooltips=("A blank latent.",))
def empty_latent_image(
    ctx: Context,
    *,
    width: int = Int(512, min=16, max=MAX_SIDE, step=8, tooltip="Width of the picture in pixels."),
    height: int = Int(512, min=16, max=MAX_SIDE, step=8, tooltip="Height of the picture in pixels."),
    batch_size: int = Int(1, min=1, max=4096, tooltip="Number of pictures made together."),
) -> Latent:
    """A blank latent to start a picture from."""
    return {"samples": torch.zeros(batch_size, 4, height // 8, width // 8)}


@latent_node("LatentUpscale", title="Upscale Latent", category="latent")
def latent_upscale(
    ctx: Context,
    *,
    samples: Latent,
    upscale_method: str = Choice(LATENT_METHODS),
    width: int = Int(512, min=0, max=MAX_SIDE, step=8),
    height: int = Int(512, min=0, max=MAX_SIDE, step=8),
    crop: str = Choice(CROPS),
) -> Latent:
    """Resize to a size in picture pixels; a side of 0 follows from the other one, both 0 leave the latent as it is."""
    if width == 0 and height == 0:
        return samples
    old = samples["samples"]
    width = max(64, width or round(old.shape[-1] * max(64, height) / old.shape[-2]))
    height = max(64, height or round(old.shape[-2] * width / old.shape[-1]))
    return {**samples, "samples": resize(old, width // 8, height // 8, upscale_method, crop)}


@latent_node("LatentUpscaleBy", title="Upscale Latent By", category="latent")
def latent_upscale_by(
    ctx: Context,
    *,
    samples: Latent,
    upscale_method: str = Choice(LATENT_METHODS),
    scale_by: float = Float(1.5, min=0.01, max=8.0, step=0.01),
) -> Latent:
    """Resize by a factor."""
    old = samples["samples"]
    width, height = (max(1, round(side * scale_by)) for side in (old.shape[-1], old.shape[-2]))
    return {**samples, "samples": resize(old, width, height, upscale_method)}


@latent_node("LatentFromBatch", title="Latent From Batch", category="latent/batch")
def latent_from_batch(
    ctx: Context, *, samples: Latent, batch_index: int = Int(0, min=0, max=63), length: int = Int(1, min=1, max=64)
) -> Latent:
    """Some consecutive latents of a batch; each keeps the noise it had in the batch."""
    return latents.take(samples, batch_index, length)


@latent_node("RepeatLatentBatch", title="Repeat Latent Batch", category="latent/batch")
def repeat_latent_batch(ctx: Context, *, samples: Latent, amount: int = Int(1, min=1, max=64)) -> Latent:
    """The whole batch again and again."""
    return latents.repeated(samples, amount)


@latent_node("SetLatentNoiseMask", title="Set Latent Noise Mask", category="latent/inpaint")
def set_latent_noise_mask(ctx: Context, *, samples: Latent, mask: Mask) -> Latent:
    """Sample only where the mask is 1."""
    return {**samples, "noise_mask": mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1])}


@latent_node("LatentComposite", title="Latent Composite", category="latent")
def latent_composite(
    ctx: Context,
    *,
    samples_to: Latent,
    samples_from: Latent,
    x: int = Int(0, min=0, max=MAX_SIDE, step=8),
    y: int = Int(0, min=0, max=MAX_SIDE, step=8),
    feather: int = Int(0, min=0, max=MAX_SIDE, step=8),
) -> Latent:
    """Paste one latent onto another at a position in pixels, with soft borders."""
    pasted = composite.paste_feathered(samples_to["samples"], samples_from["samples"], x // 8, y // 8, feather // 8)
    return {**samples_to, "samples": pasted}


@latent_node("LatentBlend", title="Latent Blend", category="_for_testing")
def latent_blend(ctx: Context, *, samples1: Latent, samples2: Latent, blend_factor: float = Float(0.5, min=0, max=1, step=0.01)) -> Latent:
    """Mix two latents; a factor of 1 is the first one."""
    first = samples1["samples"]
    second = latents.aligned(first, samples2["samples"], method="bicubic")
    return {**samples1, "samples": first * blend_factor + second * (1 - blend_factor)}


@latent_node("LatentRotate", title="Rotate Latent", category="latent/transform")
def latent_rotate(ctx: Context, *, samples: Latent, rotation: str = Choice(["none", "90 degrees", "180 degrees", "270 degrees"])) -> Latent:
    """Turn clockwise by quarter turns."""
    turns = ("none", "90 degrees", "180 degrees", "270 degrees").index(rotation)
    return {**samples, "samples": torch.rot90(samples["samples"], k=turns, dims=(-1, -2))}


@latent_node("LatentFlip", title="Flip Latent", category="latent/transform")
def latent_flip(ctx: Context, *, samples: Latent, flip_method: str = Choice(["x-axis: vertically", "y-axis: horizontally"])) -> Latent:
    """Mirror top to bottom or left to right."""
    return {**samples, "samples": samples["samples"].flip(-2 if flip_method.startswith("x") else -1)}


@latent_node("LatentCrop", title="Crop Latent", category="latent/transform")
def latent_crop(
    ctx: Context,
    *,
    samples: Latent,
    width: int = Int(512, min=64, max=MAX_SIDE, step=8),
    height: int = Int(512, min=64, max=MAX_SIDE, step=8),
    x: int = Int(0, min=0, max=MAX_SIDE, step=8),
    y: int = Int(0, min=0, max=MAX_SIDE, step=8),
) -> Latent:
    """A rectangle in picture pixels; one that starts too far out is moved to the last 64 pixels."""
    old = samples["samples"]
    left, top = (max(0, min(at // 8, side - 8)) for at, side in ((x, old.shape[-1]), (y, old.shape[-2])))
    return {**samples, "samples": old[..., top : top + height // 8, left : left + width // 8]}
