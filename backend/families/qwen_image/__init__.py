"""Qwen Image and what grew from it: editing (2509, 2511), layers, and models of others on the same net.

Wu et al. 2025, arXiv:2508.02324.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import WAN
from backend.diffusion.noise import NoiseModel, flow_noise
from backend.families import Family, references
from backend.families.prompt import tokens
from backend.families.qwen_image.net import CLEAN, PATCH, QwenNet, QwenSizes
from backend.families.qwen_image.texts import QWEN_IMAGE
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Qwen Image"
MU = 1.15
"""Log of the shift of the time axis that pictures of a megapixel are made with."""
CLEAN_MARK = "__index_timestep_zero__"
"""Stands in files whose references are to be told clean."""
LAYERED = "time_text_embed.addition_t_embedding.weight"
_OUTSIDE = ("time_text_embed.", "txt_norm.", "img_in.", "txt_in.", "transformer_blocks.", "norm_out.", "proj_out.")


def sizes(header: Header) -> QwenSizes:
    """Sizes from shapes; a head is as wide as what its queries are normalised with."""
    width, patch = header["img_in.weight"].shape
    return QwenSizes(
        channels=patch // (PATCH * PATCH),
        width=width,
        heads=width // header["transformer_blocks.0.attn.norm_q.weight"].shape[0],
        layers=count(header, "transformer_blocks"),
        context=header["txt_norm.weight"].shape[0],
        layered=LAYERED in header,
        clean=CLEAN_MARK in header,
    )


def noise(facts: Mapping[str, str]) -> NoiseModel:
    return flow_noise(multiplier=1.0, mu=MU)


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens, and the pictures to look at. Raises BadInput for a text or latents of another model.

    Tokens are [n, 1, L, width]: prompts of different length must not share a run, as saying one twice would change what it means here.
    """
    assert isinstance(sizes, QwenSizes)
    context = tokens(conds, sizes.context, NAME, "Encode the prompt with Qwen2.5-VL 7B (Load CLIP, type qwen_image).")
    method = "negative_index" if sizes.layered else CLEAN if sizes.clean else "index"
    return {"context": context.unsqueeze(1), **references.told(conds[0], WAN, method)}


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    rest = dict(kwargs)
    method, seen = references.taken(rest)
    out: Tensor = net(x, t, rest.pop("context").squeeze(1), seen, references.places(method, seen), method == CLEAN, **rest)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: both streams, queries, keys and values twice, and the perceptron's inner layer twice."""
    assert isinstance(sizes, QwenSizes)
    frames = shape[2] if len(shape) == 5 else 1
    tokens = shape[0] * (frames * shape[-2] * shape[-1] // PATCH**2 + 512)
    return tokens * sizes.width * 18 * 4


def names(keys: Iterable[str]) -> dict[str, str]:
    """The net's names are those of diffusers."""
    return {key: key for key in keys if key.startswith(_OUTSIDE)}


FAMILY = Family(
    name=NAME,
    signature=Signature(
        has=("txt_norm.weight", "img_in.weight", "transformer_blocks.0.attn.add_q_proj.weight", "transformer_blocks.0.img_mod.1.weight"),
        lacks=("controlnet_x_embedder.weight",),
    ),
    latent=WAN,
    sizes=sizes,
    build=QwenNet,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=names,
    to_diffusers=lambda sizes, keys: names(keys),
    beside=(CLEAN_MARK,),
    text=QWEN_IMAGE,
)

FAMILIES = (FAMILY,)
