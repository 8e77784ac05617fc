"""Stable Diffusion XL: base, refiner, inpainting, instruct-pix2pix, consistency, CosXL, Playground 2.5; pruned ones differ in sizes.

Podell et al. 2023, arXiv:2307.01952.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.latent import PLAYGROUND, SDXL
from backend.diffusion.noise import DistilledNoise, NoiseModel, Prediction, continuous_edm, edm, v
from backend.families.sd import DISTILLED, LABELLED, SD1_FAMILY, UNET, noise, shown
from backend.families.sd.conditions import Cond, numbers_embedding, told
from backend.families.sd.sizes import attends_first, attends_last, projected, sizes_by_head, still, takes
from backend.families.sd.texts import TWO
from backend.families.sd.unet import UNetSizes
from backend.weights.detect import Signature
from backend.weights.file import Header

PIXELS = 8
NORMALISED = ("edm_mean", "edm_std")
"""What marks a file whose latents are normalised channel by channel."""
ASCORE, ASCORE_NEGATIVE = 6.0, 2.5
"""Aesthetic scores that the refiner is told where the conditioning does not say."""


def sdxl(channels: int, base: bool = True) -> Callable[[Header], bool]:
    def matches(header: Header) -> bool:
        shape = takes(header, channels) and not attends_first(header) and attends_last(header) == base
        return shape and projected(header, 2) and still(header)

    return matches


def xl_noise(facts: Mapping[str, str]) -> NoiseModel:
    """The Stable Diffusion schedule, or CosXL's continuous one where the file names its largest sigma."""
    return continuous(v(), facts) if "edm_sigma_max" in facts else noise(facts)


def continuous(prediction: Prediction, facts: Mapping[str, str], most: float = 120.0) -> NoiseModel:
    return continuous_edm(prediction, float(facts.get("edm_sigma_min", 0.002)), float(facts.get("edm_sigma_max", most)))


def xl_consistency(facts: Mapping[str, str]) -> NoiseModel:
    return DistilledNoise.of(noise(facts))


def base_vector(cond: Cond, sizes: UNetSizes, shape: Sequence[int]) -> Tensor:
    """Pooled text, and height and width before cropping, the crop's top and left, height and width wanted (section 2.2)."""
    height, width = _size(cond, shape)
    numbers = [
        height,
        width,
        cond.get("crop_h", 0),
        cond.get("crop_w", 0),
        cond.get("target_height", height),
        cond.get("target_width", width),
    ]
    return _vector("SDXL", cond, sizes, numbers)


def refiner_vector(cond: Cond, sizes: UNetSizes, shape: Sequence[int]) -> Tensor:
    """Pooled text, height, width, the crop's top and left, and how pleasing the picture is to be."""
    height, width = _size(cond, shape)
    score = cond.get("aesthetic_score", ASCORE_NEGATIVE if cond.get("prompt_type") == "negative" else ASCORE)
    return _vector("the SDXL refiner", cond, sizes, [height, width, cond.get("crop_h", 0), cond.get("crop_w", 0), score])


def _size(cond: Cond, shape: Sequence[int]) -> tuple[float, float]:
    return cond.get("height", shape[-2] * PIXELS), cond.get("width", shape[-1] * PIXELS)


def _vector(name: str, cond: Cond, sizes: UNetSizes, numbers: Sequence[float]) -> Tensor:
    pooled: Tensor | None = cond.get("pooled_output")
    if pooled is None:
        raise BadInput(
            f"The conditioning holds no pooled text, which {name} needs.", hint="Encode the prompt with the text encoders of SDXL."
        )
    assert sizes.adm is not None
    width, rest = divmod(sizes.adm - pooled.shape[1], len(numbers))
    if rest or width <= 0:
        raise BadInput(
            f"The pooled text is {pooled.shape[1]} wide, which does not fit {name} (its vector condition is {sizes.adm} wide).",
            hint="Encode the prompt with the text encoders of SDXL.",
        )
    return torch.cat([pooled.float(), numbers_embedding(numbers, width).to(pooled.device).expand(len(pooled), -1)], dim=1)


BASE = replace(
    SD1_FAMILY,
    name="Stable Diffusion XL",
    signature=Signature(has=(*UNET, LABELLED), lacks=(DISTILLED, "encoder_hid_proj.weight", *NORMALISED), where=sdxl(4)),
    latent=SDXL,
    sizes=sizes_by_head,
    noise=xl_noise,
    inputs=told("Stable Diffusion XL", vector=base_vector),
    text=TWO,
)
REFINER = replace(
    BASE,
    name="Stable Diffusion XL refiner",
    signature=replace(BASE.signature, where=sdxl(4, base=False)),
    inputs=told("Stable Diffusion XL refiner", vector=refiner_vector),
)
INPAINTING = replace(
    BASE,
    name="Stable Diffusion XL inpainting",
    signature=replace(BASE.signature, where=sdxl(9)),
    inputs=told("Stable Diffusion XL inpainting", shown.inpainting(SDXL), base_vector),
)
EDITING = replace(
    BASE,
    name="Stable Diffusion XL InstructPix2Pix",
    signature=replace(BASE.signature, where=sdxl(8), lacks=(*BASE.signature.lacks, "edm_vpred.sigma_max")),
    inputs=told("Stable Diffusion XL InstructPix2Pix", shown.edited(), base_vector),
)
COSXL_EDITING = replace(
    EDITING,
    name="CosXL editing",
    signature=replace(EDITING.signature, has=(*BASE.signature.has, "edm_vpred.sigma_max"), lacks=BASE.signature.lacks),
    inputs=told("CosXL editing", shown.edited(SDXL), base_vector),
)
PLAYGROUND_FAMILY = replace(
    BASE,
    name="Playground 2.5",
    signature=replace(BASE.signature, has=(*BASE.signature.has, *NORMALISED), lacks=(DISTILLED, "encoder_hid_proj.weight")),
    latent=PLAYGROUND,
    noise=lambda facts: continuous(edm(), facts, 80.0),
    inputs=told("Playground 2.5", vector=base_vector),
    marks=lambda sizes: dict(zip(NORMALISED, map(torch.tensor, (PLAYGROUND.means, PLAYGROUND.deviations)), strict=True)),
)
LCM = replace(
    BASE,
    name="Stable Diffusion XL LCM",
    signature=Signature(has=(*UNET, LABELLED, DISTILLED), where=sdxl(4)),
    noise=xl_consistency,
    inputs=told("Stable Diffusion XL LCM", vector=base_vector),
)

FAMILIES = (BASE, REFINER, INPAINTING, EDITING, COSXL_EDITING, PLAYGROUND_FAMILY, LCM)
