"""Nodes of SeedVR2: a picture or a film made ready to be restored, what the model is told, and what comes out put right."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.latent import SEEDVR2
from backend.engine.context import Context
from backend.families.seedvr2 import LACKING, NAME
from backend.families.seedvr2.net import SeedVR2Sizes
from backend.families.seedvr2.texts import negative, positive
from backend.graph.declare import Choice, node
from backend.imaging.colour_match import METHODS
from nodes.types import Conditioning, Image, Latent, Model

seedvr2 = partial(node, module="comfy_extras.nodes_seedvr", form="v3")
CELL, SPAN = 16, 4
"""Sides of pictures are multiples of 16, as tokens are; frames of films are one and a multiple of 4, as latent frames are."""
NONE = "none"


class Told(NamedTuple):
    positive: Conditioning
    negative: Conditioning


@seedvr2("SeedVR2Preprocess", title="SeedVR2 Preprocess", category="image/upscaling", outputs=("images",))
def seedvr2_preprocess(ctx: Context, *, resized_images: Image) -> Image:
    """Colours alone, with sides and frames as the model takes them: the border and the last frame go on."""
    colours = resized_images[..., :3].movedim(-1, 1)
    down, right = (-side % CELL for side in colours.shape[2:])
    more = -(len(colours) - 1) % SPAN
    wide = F.pad(colours, (0, right, 0, down), mode="replicate") if down or right else colours
    return torch.cat([wide, wide[-1:].expand(more, -1, -1, -1)]).movedim(1, -1).contiguous()


@seedvr2("SeedVR2Conditioning", title="SeedVR2 Conditioning", category="conditioning/video_models", outputs=("positive", "negative"))
def seedvr2_conditioning(ctx: Context, *, model: Model, vae_conditioning: Latent) -> Told:
    """The latent to restore, and the fixed texts that the model was trained with."""
    sizes = model.sizes
    if not isinstance(sizes, SeedVR2Sizes):
        raise BadInput(
            f"The model is {model.family.name}; this node is for {NAME}.",
            hint="Load a SeedVR2 model, for example seedvr2_3b_int8_convrot.safetensors.",
            node=ctx.node,
            input="model",
        )
    latent: Tensor = vae_conditioning["samples"]
    if latent.shape[1] != SEEDVR2.channels:
        raise BadInput(
            f"The latent has {latent.shape[1]} channels; {NAME} restores latents of {SEEDVR2.channels}.",
            hint="Encode the picture with SeedVR2's own VAE, seedvr2_ema_vae_fp16.safetensors.",
            node=ctx.node,
            input="vae_conditioning",
        )
    weights, folders = model.loadable.source, ctx.services.folders
    wanted, unwanted = (read(weights, folders, sizes.context) for read in (positive, negative))
    if wanted is None:
        raise BadInput(
            f"This {NAME} model reads a text {sizes.context} wide, which is neither in its file nor among the files.",
            hint="Place its pos_emb.pt or pos_emb.safetensors into models/text_encoders.",
            node=ctx.node,
            input="model",
        )
    shown = {"concat_latent_image": latent}
    if unwanted is None:
        return Told([[wanted, shown]], [[torch.zeros_like(wanted), {**shown, LACKING: True}]])
    return Told([[wanted, shown]], [[unwanted, dict(shown)]])


@seedvr2("SeedVR2PostProcessing", title="SeedVR2 Post-Processing", category="image/upscaling", outputs=("images",))
def seedvr2_post_processing(
    ctx: Context,
    *,
    images: Image,
    original_resized_images: Image,
    color_correction_method: str = Choice(
        [*METHODS, NONE],
        tooltip="lab: fine detail of the result on the colours of the original, histograms matched. wavelet: the same without histograms."
        " adain: mean and spread of each channel. none: colours as they came out.",
    ),
) -> Image:
    """Without what was added to the sides and the end, with the colours and the transparency of the original."""
    count, height, width, channels = original_resized_images.shape
    if len(images) < count or images.shape[1] < height or images.shape[2] < width:
        raise BadInput(
            f"There are {len(images)} pictures of {images.shape[2]}x{images.shape[1]}, fewer or smaller than the {count} originals of"
            f" {width}x{height}.",
            hint="Connect the pictures that SeedVR2Preprocess was given.",
            node=ctx.node,
            input="original_resized_images",
        )
    made = images[:count, :height, :width, :3].clone()
    match = METHODS.get(color_correction_method)
    for i in range(count if match is not None else 0):
        ctx.check()
        assert match is not None
        made[i] = match(made[i : i + 1], original_resized_images[i : i + 1, ..., :3])[0]
    return made if channels < 4 else torch.cat([made, original_resized_images[..., 3:4]], dim=-1)
