"""Nodes of Cosmos Predict 2: films whose first or last frames are given."""

from __future__ import annotations

import torch

from backend.diffusion.latent import WAN
from backend.engine.context import Context
from backend.graph.declare import Int, node
from backend.imaging.resize import resize
from nodes.types import MAX_SIDE, Image, Latent, Vae

CELL, SPAN = 8, 4
"""Pixels and frames in one place of a latent."""


@node("CosmosPredict2ImageToVideoLatent", category="conditioning/inpaint", module="comfy_extras.nodes_cosmos", form="v3")
def cosmos_predict2_image_to_video_latent(
    ctx: Context,
    *,
    vae: Vae,
    width: int = Int(848, min=16, max=MAX_SIDE, step=16),
    height: int = Int(480, min=16, max=MAX_SIDE, step=16),
    length: int = Int(93, min=1, max=MAX_SIDE, step=4),
    batch_size: int = Int(1, min=1, max=4096),
    start_image: Image | None = None,
    end_image: Image | None = None,
) -> Latent:
    """Nothing yet but the given frames, which the model keeps."""
    empty = torch.zeros(1, 16, (length - 1) // SPAN + 1, height // CELL, width // CELL)
    if start_image is None and end_image is None:
        return {"samples": empty.repeat(batch_size, 1, 1, 1, 1)}
    WAN.check_vae(vae.channels, "Cosmos Predict 2", "Load the VAE of Wan 2.1 (wan_2.1_vae).")
    samples, mask = WAN.process_out(empty), torch.ones_like(empty[:, :1])
    for image, first in ((start_image, True), (end_image, False)):
        if image is None:
            continue
        film = resize(image[:length, :, :, :3].movedim(-1, 1), width, height, "bilinear", "center").movedim(1, -1)
        known = vae.encode(film, ctx.services.pool, check=ctx.check)
        at = slice(0, known.shape[2]) if first else slice(-known.shape[2], None)
        samples[:, :, at], mask[:, :, at] = known, 0.0
    return {"samples": samples.repeat(batch_size, 1, 1, 1, 1), "noise_mask": mask.repeat(batch_size, 1, 1, 1, 1)}
