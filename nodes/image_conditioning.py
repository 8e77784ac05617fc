"""Conditioning by pictures, for models that are shown one beside the latent or hear one instead of a text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.latent import SD1
from backend.encoders.clip.handle import ClipHandle
from backend.engine.context import Context
from backend.graph.declare import Float, Text, node
from backend.imaging.depth import as_condition, join
from backend.imaging.resize import resize, resize_image
from nodes.conditioning import with_values
from nodes.types import Clip, ClipVisionOutput, Conditioning, Image, Latent, Vae

ours = partial(node, module="emulsion")


class ShownLatent(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent


class Looking(NamedTuple):
    conditioning: Conditioning
    latent: Latent


class Shown(NamedTuple):
    positive: Conditioning
    negative: Conditioning


@node("InstructPixToPixConditioning", category="conditioning/instructpix2pix", module="comfy_extras.nodes_ip2p", form="v3")
def instruct_pix_to_pix_conditioning(
    ctx: Context, *, positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image
) -> ShownLatent:
    """Show an instruct-pix2pix model the picture to edit; sampling starts from an empty latent of its size."""
    seen = vae.encode(pixels[..., :3], ctx.services.pool, check=ctx.check)
    positive, negative = (with_values(c, concat_latent_image=seen) for c in (positive, negative))
    return ShownLatent(positive, negative, {"samples": torch.zeros_like(seen)})


@node("SD_4XUpscale_Conditioning", category="conditioning/upscale_diffusion", module="comfy_extras.nodes_sdupscale", form="v3")
def sd_4x_upscale_conditioning(
    ctx: Context,
    *,
    images: Image,
    positive: Conditioning,
    negative: Conditioning,
    scale_ratio: float = Float(4.0, min=0.0, max=10.0, step=0.01),
    noise_augmentation: float = Float(0.0, min=0.0, max=1.0, step=0.001),
) -> ShownLatent:
    """Show the x4 upscaler a picture; `noise_augmentation` lets it invent more. A latent cell is four pixels of the result."""
    width, height = (max(1, round(side * scale_ratio)) // 4 for side in (images.shape[2], images.shape[1]))
    if not (width and height):
        raise BadInput("The result would be smaller than four pixels.", hint="Raise scale_ratio.", node=ctx.node, input="scale_ratio")
    low = resize(images[..., :3].movedim(-1, 1) * 2 - 1, width, height, "bilinear", "center")
    latent = {"samples": torch.zeros(len(images), 4, height, width)}
    positive, negative = (with_values(c, concat_image=low, noise_augmentation=noise_augmentation) for c in (positive, negative))
    return ShownLatent(positive, negative, latent)


@ours("LatentUpscalerConditioning", title="Latent Upscaler Conditioning", category="conditioning/upscale_diffusion")
def latent_upscaler_conditioning(
    ctx: Context,
    *,
    clip: Clip,
    samples: Latent,
    text: str = Text("", multiline=True, dynamicPrompts=True),
    negative: str = Text("", multiline=True, dynamicPrompts=True),
) -> ShownLatent:
    """Show the x2 latent upscaler a latent, and what is on it. It reads CLIP-L before its last norm, so it takes no other conditioning."""
    encoder = replace(clip, norm=False) if isinstance(clip, ClipHandle) else None
    if encoder is None or encoder.branch != "l":
        raise BadInput(
            "The x2 latent upscaler reads CLIP-L alone, and this is another text encoder.",
            hint="Connect the CLIP of its folder, or of a Stable Diffusion 1 model.", node=ctx.node, input="clip",
        )  # fmt: skip
    shown = samples["samples"]
    positive, negated = (
        with_values(encoder.conditioning(prompt, ctx.services.pool), concat_latent_image=_twice(shown)) for prompt in (text, negative)
    )
    return ShownLatent(positive, negated, {"samples": torch.zeros_like(_twice(shown))})


def _twice(latent: Tensor) -> Tensor:
    return latent.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)


@ours("RGBDUpscaleConditioning", title="RGBD Upscale Conditioning", category="conditioning/upscale_diffusion")
def rgbd_upscale_conditioning(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    image: Image,
    depth: Image,
    scale: float = Float(4.0, min=1.0, max=8.0, step=0.25),
) -> ShownLatent:
    """Show LDM3D-SR a small picture and its depth (bright is near), enlarged; it paints what is missing in both."""
    if vae.sizes.in_channels not in (4, 6):
        raise BadInput(
            f"This VAE takes pictures of {vae.sizes.in_channels} channels, without depth.", hint="Use the VAE of an LDM3D model.",
            node=ctx.node, input="vae",
        )  # fmt: skip
    cell = vae.factor
    width, height = (round(side * scale / cell) * cell for side in (image.shape[2], image.shape[1]))
    image, depth = (resize_image(x[..., :3], width, height, "lanczos") for x in (image, depth))
    seen = SD1.process_in(vae.encode(join(image, depth, vae.sizes.in_channels), ctx.services.pool, check=ctx.check))
    positive, negative = (with_values(c, concat_latent_image=seen) for c in (positive, negative))
    return ShownLatent(positive, negative, {"samples": torch.zeros_like(seen)})


@ours("DepthToImageConditioning", title="Depth to Image Conditioning", category="conditioning")
def depth_to_image_conditioning(ctx: Context, *, positive: Conditioning, negative: Conditioning, depth: Image) -> Shown:
    """Show a depth-to-image model how far things are: bright is near. The range of each picture is stretched to the whole."""
    positive, negative = (with_values(c, concat_image=as_condition(depth)) for c in (positive, negative))
    return Shown(positive, negative)


@ours("MarigoldConditioning", title="Marigold Conditioning", category="conditioning")
def marigold_conditioning(ctx: Context, *, conditioning: Conditioning, vae: Vae, pixels: Image) -> Looking:
    """Show a Marigold model the picture to estimate depth or normals of. The conditioning is that of an empty prompt."""
    seen = vae.encode(pixels[..., :3], ctx.services.pool, check=ctx.check)
    return Looking(with_values(conditioning, concat_latent_image=seen), {"samples": torch.zeros_like(seen)})


@ours("ImageVariationConditioning", title="Image Variation Conditioning", category="conditioning")
def image_variation_conditioning(ctx: Context, *, clip_vision_output: ClipVisionOutput) -> Shown:
    """Let a model that was trained on pictures instead of prompts (image variations) hear an encoded picture; the negative is silence."""
    embeds = clip_vision_output.image_embeds
    if embeds is None:
        raise BadInput(
            "This image encoder has no projection, so its pictures cannot stand for a prompt.",
            hint="Load an image encoder with projection.",
            node=ctx.node,
            input="clip_vision_output",
        )
    return Shown([[embeds[:, None], {}]], [[torch.zeros_like(embeds[:, None]), {}]])
