"""Flux 2: dev, told by Mistral 3 Small, and klein, told by Qwen 3 (4B or 8B); distilled and not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backend.diffusion.latent import LatentFormat
from backend.diffusion.noise import Flow, flow_noise
from backend.families.flux import DEV, MARK, sizes_of
from backend.families.flux.conditions import told
from backend.families.flux2 import texts
from backend.families.flux2.names import FLUX2
from backend.families.flux2.net import Flux2Net
from backend.weights.detect import Signature

SHIFT = 2.02
"""mu of the time shift where no scheduler says."""
LATENT = LatentFormat(channels=128, factor=16)
"""The autoencoder gives normalised latents in patches of two by two."""


def noise(facts: Mapping[str, str]) -> Flow:
    return flow_noise(mu=SHIFT, multiplier=1.0)


FAMILY = replace(
    DEV,
    name="Flux 2",
    signature=Signature(has=(MARK, "double_stream_modulation_img.lin.weight", "single_stream_modulation.lin.weight", "img_in.weight")),
    latent=LATENT,
    sizes=lambda header: sizes_of(header, patch=1),
    build=Flux2Net,
    noise=noise,
    inputs=told("Flux 2", LATENT, layout=Flux2Net.layout, encoder="its text encoder (type flux2): Mistral 3 Small, or Qwen 3 for klein"),
    from_diffusers=FLUX2.from_diffusers,
    to_diffusers=FLUX2.to_diffusers,
    text=texts.FLUX2,
)
FAMILIES = (FAMILY,)
