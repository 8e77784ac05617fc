"""Chroma, on Flux's latents, told by T5 alone; and Chroma Radiance, which paints pixels."""

from __future__ import annotations

from dataclasses import replace

from backend.diffusion.latent import FLUX
from backend.families.chroma.names import CHROMA, TELLER
from backend.families.chroma.net import ChromaNet, ChromaSizes
from backend.families.chroma.texts import T5
from backend.families.flux import DEV, MARK, sizes_of
from backend.families.flux.conditions import told
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

FAMILIES = (CHROMA_FAMILY,)
