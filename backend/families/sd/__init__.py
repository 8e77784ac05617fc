"""Stable Diffusion 1.x and what differs from it in input channels or prediction; its UNet serves the families beside it too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from backend.diffusion.latent import SD1
from backend.diffusion.noise import DiscreteNoise, DistilledNoise, NoiseModel, betas, eps, v
from backend.families import Family
from backend.families.sd import shown
from backend.families.sd.conditions import forward, told, working_bytes
from backend.families.sd.names import from_diffusers, to_diffusers
from backend.families.sd.sizes import projected, sizes_sd1, still, takes
from backend.families.sd.texts import ONE
from backend.families.sd.unet import UNet
from backend.weights.detect import Signature
from backend.weights.file import Header

UNET = ("time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight", "out.2.weight")
"""Keys of every UNet of this kind."""
LABELLED = "label_emb.0.0.weight"
DISTILLED = "cond_proj.weight"
TURNED = "cc_projection.weight"
"""Beside nets that are told where a camera went (Zero123)."""


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """The Stable Diffusion schedule; predicts the noise unless the file says v."""
    prediction = facts.get("prediction_type", "epsilon").lower()
    return DiscreteNoise.from_betas(
        betas("scaled_linear"), v() if prediction in ("v", "v_prediction") else eps(), zero_snr=facts.get("zero_snr") == "true"
    )


def consistency(facts: Mapping[str, str]) -> NoiseModel:
    """The schedule of a latent consistency model (Luo et al. 2023): every twentieth timestep of its teacher."""
    return DistilledNoise.of(noise(facts))


def sd1(channels: int) -> Callable[[Header], bool]:
    return lambda header: takes(header, channels) and projected(header, 4) and still(header)


SD1_FAMILY = Family(
    name="Stable Diffusion 1",
    signature=Signature(has=UNET, lacks=(LABELLED, "label_emb.weight", DISTILLED, "encoder_hid_proj.weight"), where=sd1(4)),
    latent=SD1,
    sizes=sizes_sd1,
    build=UNet,
    noise=noise,
    inputs=told("Stable Diffusion 1"),
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    repeats_text=True,
    to_diffusers=to_diffusers,
    text=ONE,
)

INPAINTING = replace(
    SD1_FAMILY,
    name="Stable Diffusion 1 inpainting",
    signature=replace(SD1_FAMILY.signature, where=sd1(9)),
    inputs=told("Stable Diffusion 1 inpainting", shown.inpainting(SD1)),
)
EDITING = replace(
    SD1_FAMILY,
    name="InstructPix2Pix",
    signature=replace(SD1_FAMILY.signature, lacks=(*SD1_FAMILY.signature.lacks, TURNED), where=sd1(8)),
    inputs=told("InstructPix2Pix", shown.edited()),
)
LCM = replace(
    SD1_FAMILY,
    name="Stable Diffusion 1 LCM",
    signature=Signature(has=(*UNET, DISTILLED), lacks=(LABELLED, "label_emb.weight"), where=sd1(4)),
    noise=consistency,
    inputs=told("Stable Diffusion 1 LCM"),
)

FAMILIES = (SD1_FAMILY, INPAINTING, EDITING, LCM)
