"""Qwen Image 2.1: prompt, pictures to look at and the picture that is made in one stream, on latents of a sixteenth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import QWEN21
from backend.diffusion.noise import NoiseModel, flow_noise
from backend.families import Family
from backend.families.prompt import tokens
from backend.families.qwen_image21.net import Past, Qwen21Net, Qwen21Sizes, after
from backend.families.qwen_image21.texts import QWEN_IMAGE_21
from backend.weights.detect import Signature, count
from backend.weights.file import Header, Origin, Piece

NAME = "Qwen Image 2.1"
MU = 1.15
"""Log of the shift of the time axis that pictures of a megapixel are made with."""
CACHE = "prefix_cache"
"""The tap under which what comes first is kept from step to step."""
_PICTURE = "picture."
_OUTSIDE = ("time_text_embed.", "txt_in.", "img_in.", "modulation.", "norm_out.", "proj_out.", "transformer_blocks.")
_HALVES = re.compile(r"(transformer_blocks\.\d+\.img_mlp)\.(gate_layer|proj)\.weight")


def sizes(header: Header) -> Qwen21Sizes:
    """Sizes from shapes; a head is as wide as what its queries are normalised with."""
    width, channels = header["img_in.weight"].shape
    return Qwen21Sizes(
        channels=channels,
        width=width,
        heads=width // header["transformer_blocks.0.attn.norm_q.weight"].shape[0],
        layers=count(header, "transformer_blocks"),
        context=header["txt_in.text_norm.weight"].shape[0],
        hidden=header["transformer_blocks.0.img_mlp.out.weight"].shape[1],
    )


def noise(facts: Mapping[str, str]) -> NoiseModel:
    return flow_noise(multiplier=1.0, mu=MU)


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens as [n, 1, L, width] (see families.qwen_image), and latents of pictures, each with the place of its tokens.

    Raises BadInput for a text or latents of another model.
    """
    assert isinstance(sizes, Qwen21Sizes)
    context = tokens(conds, sizes.context, NAME, "Encode the prompt with Qwen3-VL 8B (Load CLIP, type qwen_image).")
    made = {"context": context.unsqueeze(1)}
    starts, pictures = conds[0].get("picture_tokens") or (), conds[0].get("reference_latents") or ()
    if len(starts) != len(pictures):
        raise BadInput(
            f"The prompt speaks of {len(starts)} pictures, and {len(pictures)} reference latents are given.",
            hint="Give pictures to TextEncodeQwenImage21, with the model's VAE.",
        )
    for i, (start, picture) in enumerate(zip(starts, pictures, strict=True)):
        if picture.shape[1] != sizes.channels or picture.ndim != 4:
            raise BadInput(
                f"A reference latent has the shape {list(picture.shape)}, but this model works on {sizes.channels} channels.",
                hint="Encode the picture with the model's own VAE.",
            )
        made[f"{_PICTURE}{i}.{start}"] = QWEN21.process_in(picture[:1].float())
    return made


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net; what comes first is kept from step to step where the model has a place for it (see PrefixCache)."""
    assert isinstance(net, Qwen21Net)
    context: Tensor = kwargs["context"].squeeze(1)
    names = sorted((name for name in kwargs if name.startswith(_PICTURE)), key=lambda name: int(name.split(".")[1]))
    shown = [(int(name.split(".")[2]), kwargs[name]) for name in names]
    kept = (kwargs.get("taps") or {}).get(CACHE, ())
    past: Past | None = None
    key = (tuple(kwargs["facts"]["uuids"]), tuple(kwargs["facts"]["cond_or_uncond"]), len(x)) if kept else None
    for cache in kept:
        past = cache.get(key, x)
    if past is None:
        past = net.before(context, shown)
        for cache in kept:
            cache.put(key, past)
    out: Tensor = net(x, t, past, after(context.shape[1], shown))
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: tokens' states, queries, keys and values twice, the perceptron; keys and values before."""
    assert isinstance(sizes, Qwen21Sizes)
    tokens = shape[0] * (shape[-2] * shape[-1] + 512)
    return (tokens * (9 * sizes.width + 3 * sizes.hidden) + shape[0] * 512 * 2 * sizes.layers * sizes.width) * 4


def from_diffusers(keys: Iterable[str]) -> dict[str, Origin]:
    """Net name -> diffusers name; a perceptron's two halves are stacked, the gate first."""
    made: dict[str, Origin] = {}
    for key in keys:
        if match := _HALVES.fullmatch(key):
            made[f"{match[1]}.gate_up.weight"] = (Piece(f"{match[1]}.gate_layer.weight"), Piece(f"{match[1]}.proj.weight"))
        elif key.startswith(_OUTSIDE):
            made[key] = key
    return made


def to_diffusers(sizes: Any, keys: Iterable[str]) -> dict[str, Origin]:
    """The same for the keys of a net."""
    assert isinstance(sizes, Qwen21Sizes)
    made: dict[str, Origin] = {}
    for key in keys:
        start = key.removesuffix("gate_up.weight")
        both = (Piece(f"{start}gate_layer.weight", rows=sizes.hidden), Piece(f"{start}proj.weight", rows=sizes.hidden))
        made[key] = both if start != key else key
    return made


FAMILY = Family(
    name=NAME,
    signature=Signature(has=("txt_in.text_norm.weight", "modulation.1.weight", "transformer_blocks.0.img_mlp.gate_up.weight")),
    latent=QWEN21,
    sizes=sizes,
    build=Qwen21Net,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=QWEN_IMAGE_21,
)

FAMILIES = (FAMILY,)
