"""LongCat-Image and LongCat-Image-Edit, on Flux's latents, told by Qwen 2.5 VL (7B)."""

from __future__ import annotations

from dataclasses import replace

from backend.diffusion.latent import FLUX
from backend.families.flux import DEV, MARK, shows
from backend.families.flux.conditions import told
from backend.families.flux.names import ENDS, Names
from backend.families.longcat import texts
from backend.families.longcat.net import LongCatNet
from backend.weights.detect import Signature

NAMES = Names(
    {ours: theirs.replace("time_text_embed", "time_embed") for ours, theirs in ENDS.items() if not ours.startswith(("vector", "guidance"))},
    mark="time_embed.timestep_embedder.linear_1.",
)

FAMILY = replace(
    DEV,
    name="LongCat-Image",
    signature=Signature(
        has=(MARK, "time_in.in_layer.weight", "double_blocks.0.img_mod.lin.weight", "single_blocks.0.linear1.weight"),
        lacks=("vector_in.in_layer.weight", "guidance_in.in_layer.weight", "double_stream_modulation_img.lin.weight"),
        where=shows(1),
    ),
    build=LongCatNet,
    inputs=told("LongCat-Image", FLUX, layout=LongCatNet.layout, encoder="the text encoder Qwen 2.5 VL 7B (type longcat_image)"),
    from_diffusers=NAMES.from_diffusers,
    to_diffusers=NAMES.to_diffusers,
    text=texts.LONGCAT,
)
FAMILIES = (FAMILY,)
