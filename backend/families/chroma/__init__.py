"""Chroma, on Flux's latents, told by T5 alone; and Chroma Radiance, which paints pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backend.diffusion.latent import FLUX, LatentFormat
from backend.families.chroma.names import CHROMA, TELLER
from backend.families.chroma.net import ChromaNet, ChromaSizes
from backend.families.chroma.radiance import RATIO, TILE, RadianceNet, RadianceSizes
from backend.families.chroma.texts import T5
from backend.families.flux import DEV, MARK, sizes_of
from backend.families.flux.conditions import told, working_bytes
from backend.weights.detect import Signature, count
from backend.weights.file import Header

ENCODER = "the text encoder T5 (type chroma)"


def sizes(header: Header) -> ChromaSizes:
    teller, asked = header[f"{TELLER}.in_proj.weight"].shape
    plain = {name: getattr(sizes_of(header), name) for name in ("channels", "width", "heads", "hidden", "doubles", "singles", "context")}
    return ChromaSizes(**plain, pooled=0, guidance=False, told=asked, teller=teller, layers=count(header, f"{TELLER}.layers"))


CHROMA_FAMILY = replace(
    DEV,
    name="Chroma",
    signature=Signature(has=(MARK, f"{TELLER}.in_proj.weight", f"{TELLER}.norms.0.scale", "img_in.weight", "final_layer.linear.weight")),
    sizes=sizes,
    build=ChromaNet,
    inputs=told("Chroma", FLUX, encoder=ENCODER),
    from_diffusers=CHROMA.from_diffusers,
    to_diffusers=CHROMA.to_diffusers,
    text=T5,
)

PIXELS = LatentFormat(channels=3, factor=1)
ENTRANCE, CLEAN = "img_in_patch.weight", "__x0__"
COLOURS = "nerf_final_layer_conv.conv.weight"


def radiance_sizes(header: Header) -> RadianceSizes:
    width, channels, patch, _ = header[ENTRANCE].shape
    teller, asked = header[f"{TELLER}.in_proj.weight"].shape
    painter, known = header["nerf_image_embedder.embedder.0.weight"].shape
    return RadianceSizes(
        channels=channels,
        patch=patch,
        width=width,
        heads=width // header[MARK].shape[0],
        hidden=header["double_blocks.0.img_mlp.2.weight"].shape[1],
        doubles=count(header, "double_blocks"),
        singles=count(header, "single_blocks"),
        context=header["txt_in.weight"].shape[1],
        pooled=0,
        guidance=False,
        told=asked,
        teller=teller,
        layers=count(header, f"{TELLER}.layers"),
        painter=painter,
        depth=count(header, "nerf_blocks"),
        waves=math.isqrt(known - channels),
        convolved=COLOURS in header,
        clean=CLEAN in header,
    )


def radiance_bytes(shape: Sequence[int], sizes: Any) -> int:
    """As Flux's, and the weights that are made for a tile of patches with what they paint."""
    assert isinstance(sizes, RadianceSizes)
    pixels = shape[0] * shape[-2] * shape[-1]
    return working_bytes(shape, sizes) + (TILE * 6 * sizes.painter**2 * RATIO + pixels * 4 * sizes.painter) * 4


RADIANCE = replace(
    CHROMA_FAMILY,
    name="Chroma Radiance",
    signature=Signature(has=(MARK, f"{TELLER}.in_proj.weight", ENTRANCE, "nerf_blocks.0.param_generator.weight")),
    beside=(CLEAN,),
    latent=PIXELS,
    sizes=radiance_sizes,
    build=RadianceNet,
    inputs=told("Chroma Radiance", PIXELS, encoder=ENCODER),
    working_bytes=radiance_bytes,
)

FAMILIES = (CHROMA_FAMILY, RADIANCE)
