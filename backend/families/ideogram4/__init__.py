"""Ideogram 4: one stream told by thirteen layers of Qwen 3 VL (8B), on Flux 2's latents; guided by a second net that reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import FLUX2
from backend.diffusion.noise import flow_noise
from backend.families import Family
from backend.families.ideogram4.names import from_diffusers, to_diffusers
from backend.families.ideogram4.net import Ideogram4Net, Ideogram4Sizes
from backend.families.ideogram4.texts import TEXT
from backend.families.prompt import tokens
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Ideogram 4"
CELLS = 4
"""Cells of the autoencoder in a token."""


def sizes(header: Header) -> Ideogram4Sizes:
    """Sizes from shapes; a head is as wide as what its keys are normalised with."""
    width, channels = header["input_proj.weight"].shape
    return Ideogram4Sizes(
        channels=channels,
        width=width,
        heads=width // header["layers.0.attention.norm_k.weight"].shape[0],
        hidden=header["layers.0.feed_forward.w1.weight"].shape[0],
        layers=count(header, "layers"),
        told=header["adaln_proj.weight"].shape[0],
        context=header["llm_cond_proj.weight"].shape[1],
    )


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens; a prompt of zeros (ConditioningZeroOut) is none at all. Raises BadInput for a text of another model."""
    assert isinstance(sizes, Ideogram4Sizes)
    if not any(torch.any(cond["cross_attn"]) for cond in conds):
        return {}
    context = tokens(conds, sizes.context, NAME, "Encode the prompt with Qwen 3 VL 8B (Load CLIP, type ideogram4).")
    lengths = torch.ones(context.shape[:2], dtype=torch.bool)  # prompts of unequal length never share a batch
    return {"context": context, "lengths": lengths}


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """The net's clock runs from noise to picture, and so does its velocity; in a token lie its four cells one after the other."""
    out: Tensor = net(_swapped(x, -1, CELLS), 1 - t, kwargs.get("context"))
    return -_swapped(out, CELLS, -1)


def _swapped(x: Tensor, outer: int, inner: int) -> Tensor:
    """Channels that lie (outer, inner) in [B, C, H, W] as (inner, outer)."""
    return torch.unflatten(x, 1, (outer, inner)).transpose(1, 2).flatten(1, 2)


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: what tokens are and attend with, the perceptron's two halves, and the text."""
    assert isinstance(sizes, Ideogram4Sizes)
    tokens = shape[0] * (shape[-2] * shape[-1] + 1024)
    return tokens * (9 * sizes.width + 2 * sizes.hidden) * 4 + shape[0] * 1024 * 2 * sizes.context * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(has=("input_proj.weight", "llm_cond_norm.weight", "embed_image_indicator.weight", "layers.0.attention.qkv.weight")),
    latent=FLUX2,
    sizes=sizes,
    build=Ideogram4Net,
    noise=lambda facts: flow_noise(1.0, 1.0),
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=TEXT,
)

FAMILIES = (FAMILY,)
