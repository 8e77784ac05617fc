"""Stable Diffusion 1.x and the models that differ from it in sizes only: inpainting, instruct-pix2pix, pruned and tiny ones."""

from __future__ import annotations

from collections.abc import Mapping

from backend.diffusion.latent import SD1
from backend.diffusion.noise import DiscreteNoise, NoiseModel, betas, eps, v
from backend.families import Family
from backend.families.sd.conditions import forward, inputs, working_bytes
from backend.families.sd.names import from_diffusers, to_diffusers
from backend.families.sd.sizes import sizes_sd1, uses_convolutions
from backend.families.sd.unet import UNet
from backend.weights.detect import Signature


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """The Stable Diffusion schedule; predicts the noise unless the file says v."""
    prediction = facts.get("prediction_type", "epsilon").lower()
    return DiscreteNoise.from_betas(
        betas("scaled_linear"), v() if prediction in ("v", "v_prediction") else eps(), zero_snr=facts.get("zero_snr") == "true"
    )


SD1_FAMILY = Family(
    name="Stable Diffusion 1",
    signature=Signature(
        has=("time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight", "out.2.weight"),
        lacks=("label_emb.0.0.weight",),
        where=uses_convolutions,
    ),
    latent=SD1,
    sizes=sizes_sd1,
    build=UNet,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
)

FAMILIES = (SD1_FAMILY,)
