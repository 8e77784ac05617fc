"""Lotus (He et al. 2024, arXiv:2409.18124): depth or surface normals of a picture in one step, by a net of the shape of Stable Diffusion 2.

The discriminative net (Lotus-D) is shown the picture's latent as it is, at the last timestep, and answers with the latent of the
estimate. It was taught two tasks at once, estimating and giving the picture back, and is told which by a vector of two sines and two
cosines; everybody asks for the first. What it reads as text is always the empty prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from backend.diffusion.noise import DiscreteNoise, NoiseModel, betas, image_to_image
from backend.families.sd import DISTILLED, LABELLED, UNET
from backend.families.sd.conditions import Cond, told
from backend.families.sd.sizes import attends_first, projected, sizes_by_head, still, takes
from backend.families.sd.unet import UNetSizes
from backend.families.sd2 import SD2
from backend.weights.detect import Signature
from backend.weights.file import Header

NAME = "Lotus"
TASKS = 2
ESTIMATE = (1.0, 0.0)
"""Of the two tasks the first."""


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """Stable Diffusion's schedule, of which only the last timestep is used: any high sigma means that."""
    return DiscreteNoise.from_betas(betas("scaled_linear"), image_to_image())


def task(cond: Cond, sizes: UNetSizes, shape: Sequence[int]) -> Tensor:
    """[1, 4]: sines of the task, then cosines."""
    return torch.tensor([[f(n) for f in (math.sin, math.cos) for n in ESTIMATE]])


def is_lotus(header: Header) -> bool:
    """A net that is told a vector of two sines and two cosines, however wide the rest is."""
    return header[LABELLED].shape[1] == 2 * TASKS and takes(header, 4) and attends_first(header) and projected(header, 2) and still(header)


FAMILIES = (
    replace(
        SD2,
        name=NAME,
        signature=Signature(has=(*UNET, LABELLED), lacks=(DISTILLED, "encoder_hid_proj.weight"), where=is_lotus),
        sizes=sizes_by_head,
        probe=lambda weights: {},
        noise=noise,
        inputs=told(NAME, vector=task),
    ),
)
