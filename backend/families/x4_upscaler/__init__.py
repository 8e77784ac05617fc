"""The x4 upscaler of Stable Diffusion 2: denoises beside a low resolution picture, which may be noised itself first.

Rombach et al. 2022, appendix E; the noise on the condition is that of cascaded diffusion (Ho et al. 2021, arXiv:2106.15282).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from backend.diffusion.latent import LatentFormat
from backend.diffusion.noise import DiscreteNoise, NoiseModel, betas, eps, v
from backend.families.sd import DISTILLED, LABELLED, SD1_FAMILY, UNET
from backend.families.sd.augment import noised, seed_of
from backend.families.sd.conditions import Cond, told
from backend.families.sd.shown import resized
from backend.families.sd.sizes import sizes_sd1, still, takes
from backend.families.sd.unet import UNetSizes
from backend.weights.detect import Signature

MOST_NOISE = 350
"""The highest timestep that a low resolution picture was noised to in training."""
START, END = 0.0001, 0.02
ALPHAS = torch.cumprod(1 - betas("scaled_linear", 1000, START, END), 0)


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """The schedule of latents, which is wider than SD's; the published net predicts v."""
    prediction = eps() if facts.get("prediction_type", "v_prediction").lower() in ("epsilon", "eps") else v()
    return DiscreteNoise.from_betas(betas("scaled_linear", 1000, START, END), prediction, zero_snr=facts.get("zero_snr") == "true")


def level(cond: Cond) -> int:
    return round(MOST_NOISE * float(cond.get("noise_augmentation", 0.0)))


def low_resolution(cond: Cond, shape: Sequence[int]) -> Tensor:
    """The low resolution picture [n, 3, H, W] in -1..1, noised to its level; zeros where there is none."""
    image: Tensor | None = cond.get("concat_image")
    if image is None:
        return torch.zeros(1, 3, shape[-2], shape[-1])
    image = resized(image, (shape[-2], shape[-1]))
    return noised(image, ALPHAS, level(cond), seed_of(cond)) if level(cond) > 0 else image


def label(cond: Cond, sizes: UNetSizes, shape: Sequence[int]) -> Tensor:
    return torch.tensor([level(cond)])


FAMILIES = (
    replace(
        SD1_FAMILY,
        name="Stable Diffusion x4 upscaler",
        signature=Signature(
            has=(*UNET, "label_emb.weight"), lacks=(LABELLED, DISTILLED), where=lambda header: takes(header, 7) and still(header)
        ),
        latent=LatentFormat(factor=4, scale=0.08333),
        sizes=sizes_sd1,
        noise=noise,
        inputs=told("Stable Diffusion x4 upscaler", low_resolution, label),
    ),
)
