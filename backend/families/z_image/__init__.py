"""Z-Image and Z-Image Turbo: a single stream of prompt and picture, told by Qwen 3 (4B), on Flux's latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.latent import FLUX
from backend.diffusion.noise import flow_noise
from backend.families import Family
from backend.families.prompt import tokens
from backend.families.z_image.names import from_diffusers, to_diffusers
from backend.families.z_image.net import MULTIPLE, PATCH, ZImageNet, ZImageSizes
from backend.families.z_image.texts import TEXT
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Z-Image"
SHIFT = 3.0


def sizes(header: Header) -> ZImageSizes:
    """Sizes from shapes; a head is as wide as what its keys are normalised with."""
    width, patch = header["x_embedder.weight"].shape
    return ZImageSizes(
        channels=patch // (PATCH * PATCH),
        width=width,
        heads=width // header["layers.0.attention.k_norm.weight"].shape[0],
        hidden=header["layers.0.feed_forward.w1.weight"].shape[0],
        layers=count(header, "layers"),
        refiners=count(header, "noise_refiner"),
        context=header["cap_embedder.1.weight"].shape[1],
        told=header["t_embedder.mlp.2.weight"].shape[0],
        time_hidden=header["t_embedder.mlp.0.weight"].shape[0],
    )


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens, filled up to whole lots, and which of them are real. Raises BadInput for a text of another model."""
    assert isinstance(sizes, ZImageSizes)
    context = tokens(conds, sizes.context, NAME, "Encode the prompt with Qwen 3 4B (Load CLIP, type lumina2).")
    missing = -context.shape[1] % MULTIPLE
    real = torch.ones(context.shape[:2], dtype=torch.bool)
    return {"context": F.pad(context, (0, 0, 0, missing)), "real": F.pad(real, (0, missing))}


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """The net's clock runs from noise to picture, and so does its velocity."""
    out: Tensor = net(x, 1 - t, **kwargs)
    return -out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: what a token is, its queries, keys and values twice, and the perceptron's two halves."""
    assert isinstance(sizes, ZImageSizes)
    tokens = shape[0] * (shape[-2] * shape[-1] // PATCH**2 + 512)
    return tokens * (9 * sizes.width + 2 * sizes.hidden) * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(
        has=("x_embedder.weight", "cap_pad_token", "x_pad_token", "cap_embedder.1.weight", "layers.0.attention.qkv.weight"),
        lacks=("siglip_embedder.1.weight",),
    ),
    latent=FLUX,
    sizes=sizes,
    build=ZImageNet,
    noise=lambda facts: flow_noise(SHIFT, 1.0),
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=TEXT,
)

FAMILIES = (FAMILY,)
