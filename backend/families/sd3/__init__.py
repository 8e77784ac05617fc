"""Stable Diffusion 3 and 3.5: medium and large, and Large Turbo, which differs in nothing but its weights.

Esser et al. 2024, arXiv:2403.03206.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import SD3
from backend.diffusion.noise import NoiseModel, flow_noise
from backend.families import Family
from backend.families.prompt import tokens
from backend.families.sd3 import texts
from backend.families.sd3.names import from_diffusers, to_diffusers
from backend.families.sd3.net import PATCH, SD3Net, SD3Sizes
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Stable Diffusion 3"
SHIFT = 3.0
HEAD = 64
"""Width of a head, where nothing in the file says."""
QKV = "joint_blocks.0.context_block.attn.qkv.weight"
HINT = "Encode the prompt with CLIP-L, OpenCLIP-bigG and T5 v1.1 XXL (Triple CLIP Loader, or Load CLIP with the type sd3)."


def sizes(header: Header) -> SD3Sizes:
    """Sizes from shapes. Raises KeyError for a missing weight, ValueError for a square that is none."""
    width, channels = header["x_embedder.proj.weight"].shape[:2]
    layers = count(header, "joint_blocks")
    norm = header.get("joint_blocks.0.x_block.attn.ln_q.weight")
    places = header["pos_embed"].shape[1]
    side = round(places**0.5)
    if side * side != places:
        raise ValueError(f"pos_embed has {places} places, which make no square")
    return SD3Sizes(
        channels=channels,
        width=width,
        heads=width // (HEAD if norm is None else norm.shape[0]),
        hidden=header["joint_blocks.0.x_block.mlp.fc1.weight"].shape[0],
        layers=layers,
        context=header["context_embedder.weight"].shape[1],
        pooled=header["y_embedder.mlp.0.weight"].shape[1],
        places=side,
        normed=norm is not None,
        dual=tuple(i for i in range(layers) if f"joint_blocks.{i}.x_block.attn2.qkv.weight" in header),
    )


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """Rectified flow, its time bent towards noise by 3 or by what a folder's scheduler says."""
    return flow_noise(float(facts.get("shift", SHIFT)))


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens and pooled text. Raises BadInput for a text of another model, and for pictures beyond the places there are."""
    assert isinstance(sizes, SD3Sizes)
    context = tokens(conds, sizes.context, NAME, HINT)
    longest = sizes.places * PATCH
    if max(shape[-2:]) > longest:
        raise BadInput(
            f"The picture is {shape[-1] * SD3.factor} x {shape[-2] * SD3.factor}; this {NAME} model knows places up to"
            f" {longest * SD3.factor} along a side.",
            hint="Make a smaller picture and upscale it, or work in tiles.",
        )
    return {"context": context, "y": torch.cat([_pooled(cond, sizes) for cond in conds])}


def _pooled(cond: dict[str, Any], sizes: SD3Sizes) -> Tensor:
    pooled: Tensor | None = cond.get("pooled_output")
    if pooled is None:
        return torch.zeros(len(cond["cross_attn"]), sizes.pooled)
    if pooled.shape[-1] != sizes.pooled:
        raise BadInput(f"The pooled text is {pooled.shape[-1]} wide, but this {NAME} model takes {sizes.pooled}.", hint=HINT)
    return pooled


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    out: Tensor = net(x, t, **kwargs)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: both streams, their queries, keys and values twice over, and the perceptron's inner layer."""
    assert isinstance(sizes, SD3Sizes)
    tokens = shape[0] * (shape[-2] * shape[-1] // PATCH**2 + 333)
    return tokens * (10 * sizes.width + 2 * sizes.hidden) * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(has=(QKV, "x_embedder.proj.weight", "y_embedder.mlp.0.weight", "pos_embed"), lacks=("controlnet_blocks.0.weight",)),
    latent=SD3,
    sizes=sizes,
    build=SD3Net,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=texts.SD3,
)
FAMILIES = (FAMILY,)
