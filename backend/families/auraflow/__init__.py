"""AuraFlow 0.1 to 0.3 (fal 2024) and what was trained on it, on SDXL's latents and told by Pile-T5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import SDXL
from backend.diffusion.noise import NoiseModel, flow_noise
from backend.encoders.t5.handle import T5Handle
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families import Family
from backend.families.auraflow.names import from_diffusers, to_diffusers
from backend.families.auraflow.net import PATCH, AuraNet, AuraSizes
from backend.families.joining import Joiner
from backend.families.prompt import tokens
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "AuraFlow"
SHIFT = 1.73
HEAD = 256
LENGTH = 256
"""Tokens that every prompt has at least; padding is not looked at, and zero."""


def sizes(header: Header) -> AuraSizes:
    """Sizes from shapes. Raises KeyError for a missing weight, ValueError for a square that is none."""
    width, inner = header["init_x_linear.weight"].shape
    places = header["positional_encoding"].shape[1]
    side = round(places**0.5)
    if side * side != places:
        raise ValueError(f"positional_encoding has {places} places, which make no square")
    return AuraSizes(
        channels=inner // PATCH**2,
        width=width,
        heads=max(1, width // HEAD),
        hidden=header["double_layers.0.mlpX.c_fc1.weight"].shape[0],
        doubles=count(header, "double_layers"),
        singles=count(header, "single_layers"),
        context=header["cond_seq_linear.weight"].shape[1],
        places=side,
        registers=header["register_tokens"].shape[1],
    )


def join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    if len(encoders) != 1 or encoders[0].branch != "pile_t5xl":
        return None
    return replace(cast(T5Handle, encoders[0]), min_length=LENGTH, masked=True, zeroed=True)


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """Rectified flow whose clock runs to 1."""
    return flow_noise(float(facts.get("shift", SHIFT)), 1.0)


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens. Raises BadInput for a text of another model."""
    assert isinstance(sizes, AuraSizes)
    context = tokens(conds, sizes.context, NAME, "Encode the prompt with the text encoder of the AuraFlow checkpoint (Pile-T5-XL).")
    return {"context": context}


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    out: Tensor = net(x, t, **kwargs)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: the streams, their queries, keys and values twice over, and the perceptron's inner layer."""
    assert isinstance(sizes, AuraSizes)
    tokens = shape[0] * (shape[-2] * shape[-1] // PATCH**2 + LENGTH + sizes.registers)
    return tokens * (10 * sizes.width + 3 * sizes.hidden) * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(has=("cond_seq_linear.weight", "positional_encoding", "double_layers.0.attn.w1q.weight", "modF.1.weight")),
    latent=SDXL,
    sizes=sizes,
    build=AuraNet,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=Joiner(NAME, "Pile-T5-XL", (), join, usual=(frozenset({"pile_t5xl"}),)),
)
FAMILIES = (FAMILY,)
