"""Stable Diffusion 2.x: OpenCLIP's text and linear projections; base (noise), 768 (velocity), inpainting, depth, Marigold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from backend.diffusion.latent import SD1
from backend.diffusion.noise import NoiseModel
from backend.families.sd import DISTILLED, LABELLED, SD1_FAMILY, UNET, noise, shown
from backend.families.sd.conditions import forward_shown_first, told
from backend.families.sd.sizes import attends_first, projected, sizes_by_head, still, takes
from backend.weights.detect import Signature
from backend.weights.file import Header

PROBE = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
SPREAD = 0.09
"""The ecosystem's threshold: training for v widened the biases of this norm beyond it."""


def sd2(channels: int) -> Callable[[Header], bool]:
    return lambda header: takes(header, channels) and attends_first(header) and projected(header, 2) and still(header)


def probe(weights: Mapping[str, Tensor]) -> Mapping[str, str]:
    """SD 2.0 and 2.1 for 768 pixels predict v, the base models the noise; only the values of their weights tell."""
    if PROBE not in weights:
        return {}
    return {"prediction_type": "v_prediction" if float(weights[PROBE].float().std(correction=0)) > SPREAD else "epsilon"}


def velocity(facts: Mapping[str, str]) -> NoiseModel:
    """The schedule with a net that predicts v unless the file says otherwise."""
    return noise({"prediction_type": "v_prediction", **facts})


SD2 = replace(
    SD1_FAMILY,
    name="Stable Diffusion 2",
    signature=Signature(has=UNET, lacks=(LABELLED, "label_emb.weight", DISTILLED, "encoder_hid_proj.weight"), where=sd2(4)),
    sizes=sizes_by_head,
    probe=probe,
    inputs=told("Stable Diffusion 2"),
)
INPAINTING = replace(
    SD2,
    name="Stable Diffusion 2 inpainting",
    signature=replace(SD2.signature, where=sd2(9)),
    probe=lambda weights: {},
    inputs=told("Stable Diffusion 2 inpainting", shown.inpainting(SD1)),
)
DEPTH = replace(
    INPAINTING,
    name="Stable Diffusion 2 depth",
    signature=replace(SD2.signature, where=sd2(5)),
    inputs=told("Stable Diffusion 2 depth", shown.required("concat_image", 1, "a depth map", "Depth to Image Conditioning")),
)
MARIGOLD = replace(
    INPAINTING,
    name="Marigold",
    signature=replace(SD2.signature, where=sd2(8)),
    noise=velocity,
    inputs=told(
        "Marigold",
        lambda cond, shape: SD1.process_in(
            shown.required("concat_latent_image", 4, "the picture to look at", "Marigold Conditioning")(cond, shape)
        ),
    ),
    forward=forward_shown_first,
)

FAMILIES = (SD2, INPAINTING, DEPTH, MARIGOLD)
