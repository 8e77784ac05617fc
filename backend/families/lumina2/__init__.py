"""Lumina Image 2.0 and what was trained from it (NetaYume and others): a single stream, told by Gemma 2 (2B), on Flux's latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import FLUX
from backend.diffusion.noise import flow_noise
from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.reading import Reading
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families import Family
from backend.families.joining import Joiner
from backend.families.lumina2.names import from_diffusers, to_diffusers
from backend.families.lumina2.net import PATCH, Lumina2Net, Lumina2Sizes
from backend.families.prompt import tokens
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Lumina 2"
SHIFT = 6.0
READING = Reading(layers=(-2,))

SYSTEMS = {
    "superior": "You are an assistant designed to generate superior images with the superior degree of image-text alignment based on"
    " textual prompts or user prompts.",
    "alignment": "You are an assistant designed to generate high-quality images with the highest degree of image-text alignment based on"
    " textual prompts.",
}
"""What the model was told before its prompts in training, by the names that nodes have for it."""
PROMPT_START = " <Prompt Start> "
"""What parts these from the prompt."""


def sizes(header: Header) -> Lumina2Sizes:
    """Sizes from shapes; a head is as wide as what its keys are normalised with. Raises KeyError, ValueError."""
    width, patch = header["x_embedder.weight"].shape
    head = header["layers.0.attention.k_norm.weight"].shape[0]
    keys = (header["layers.0.attention.qkv.weight"].shape[0] - width) // 2
    if width % head or keys % head or head % 6:
        raise ValueError(f"{width} and {keys} channels are no whole heads of {head}")
    return Lumina2Sizes(
        channels=patch // (PATCH * PATCH),
        width=width,
        heads=width // head,
        kv_heads=keys // head,
        hidden=header["layers.0.feed_forward.w1.weight"].shape[0],
        layers=count(header, "layers"),
        refiners=count(header, "noise_refiner"),
        context=header["cap_embedder.1.weight"].shape[1],
        told=header["t_embedder.mlp.2.weight"].shape[0],
    )


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens. Raises BadInput for a text of another model."""
    assert isinstance(sizes, Lumina2Sizes)
    context = tokens(conds, sizes.context, NAME, "Encode the prompt with Gemma 2 2B (Load CLIP, type lumina2).")
    return {"context": context}


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """The net's clock runs from noise to picture, and so does its velocity."""
    out: Tensor = net(x, 1 - t, **kwargs)
    return -out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: what a token is, its queries, keys and values twice, and the perceptron's two halves."""
    assert isinstance(sizes, Lumina2Sizes)
    tokens = shape[0] * (shape[-2] * shape[-1] // PATCH**2 + 256)
    return tokens * (9 * sizes.width + 2 * sizes.hidden) * 4


def _gemma(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    """Gemma 2, read at the last layer but one (section 2.1)."""
    if len(encoders) == 1 and isinstance(encoders[0], LmHandle) and encoders[0].title == "Gemma 2":
        return encoders[0].read_as(READING)
    return None


TEXT = Joiner(NAME, "Gemma 2 2B", ("lumina2",), _gemma, usual=(frozenset({"gemma2_2b"}),))

FAMILY = Family(
    name=NAME,
    signature=Signature(
        has=("x_embedder.weight", "cap_embedder.1.weight", "layers.0.attention.qkv.weight", "layers.0.adaLN_modulation.1.weight"),
        lacks=("cap_pad_token", "x_pad_token", "siglip_embedder.1.weight"),
    ),
    latent=FLUX,
    sizes=sizes,
    build=Lumina2Net,
    noise=lambda facts: flow_noise(SHIFT, 1.0),
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=TEXT,
)

FAMILIES = (FAMILY,)
