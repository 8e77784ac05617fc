"""PixArt Alpha and Sigma, told by T5 (Chen et al. 2023, arXiv:2310.00426; 2024, arXiv:2403.04692)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import SD1, SDXL
from backend.diffusion.noise import DiscreteNoise, NoiseModel, betas
from backend.encoders.t5.handle import T5Handle
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families import Family
from backend.families.joining import Joiner
from backend.families.pixart.names import from_diffusers, to_diffusers
from backend.families.pixart.net import PATCH, PixArtNet, PixArtSizes
from backend.families.prompt import tokens
from backend.weights.detect import Signature, count
from backend.weights.file import Header

HEADS = 16
"""Of every published net; shapes cannot tell."""
SIZED = "ar_embedder.mlp.0.weight"
NOTHING = "y_embedder.y_embedding"
"""What stood for no prompt in training: as many tokens as the longest prompt had."""
ALPHA_LENGTH = 120
SPAN = 32


def is_alpha(header: Header) -> bool:
    """Alpha is told the picture's size, or was trained on shorter prompts than Sigma."""
    return SIZED in header or (NOTHING in header and header[NOTHING].shape[0] <= ALPHA_LENGTH)


def plain(header: Header) -> bool:
    """Whether keys and values are those of every token; the nets for 2K look at fewer."""
    return not any(".attn.sr." in key for key in header)


def sizes(header: Header) -> PixArtSizes:
    """Sizes from shapes. Raises KeyError for a missing weight."""
    width, channels = header["x_embedder.proj.weight"].shape[:2]
    places = header["pos_embed"].shape[1] if "pos_embed" in header else SPAN * SPAN
    return PixArtSizes(
        channels=channels,
        out_channels=header["final_layer.linear.weight"].shape[0] // PATCH**2,
        width=width,
        heads=HEADS,
        hidden=header["blocks.0.mlp.fc1.weight"].shape[0],
        layers=count(header, "blocks"),
        context=header["y_embedder.y_proj.fc1.weight"].shape[1],
        sized=SIZED in header,
        span=min(SPAN, round(places**0.5)),
    )


def join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    if len(encoders) != 1 or encoders[0].branch != "t5xxl":
        return None
    return replace(cast(T5Handle, encoders[0]), masked=True)


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """A thousand steps, evenly noisier; the net predicts the noise."""
    return DiscreteNoise.from_betas(betas("linear", start=0.0001, end=0.02))


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens, which of them are padding if any are, and the picture's size. Raises BadInput for a text of another model."""
    assert isinstance(sizes, PixArtSizes)
    context = tokens(conds, sizes.context, "PixArt", "Encode the prompt with T5 v1.1 XXL (Load CLIP, type pixart).")
    made = {"context": context}
    masks = [cond.get("attention_mask") for cond in conds]
    if all(mask is not None and mask.shape[-1] == context.shape[1] for mask in masks):
        mask = torch.cat([cast(Tensor, mask).reshape(-1, context.shape[1]) for mask in masks])
        if not bool(mask.all()):
            made["mask"] = mask.bool()
    if sizes.sized:
        made["size"] = torch.cat([_size(cond, shape) for cond in conds])
    return made


def _size(cond: dict[str, Any], shape: Sequence[int]) -> Tensor:
    height, width = float(cond.get("height", shape[-2] * SD1.factor)), float(cond.get("width", shape[-1] * SD1.factor))
    return torch.tensor([[height, width, cond.get("aspect_ratio", height / max(width, 1.0))]])


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    out: Tensor = net(x, t, **kwargs)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: the tokens, their queries, keys and values twice over, and the perceptron's inner layer."""
    assert isinstance(sizes, PixArtSizes)
    return shape[0] * (shape[-2] * shape[-1] // PATCH**2) * (10 * sizes.width + 2 * sizes.hidden) * 4


HAS = ("t_block.1.weight", "y_embedder.y_proj.fc1.weight", "x_embedder.proj.weight", "blocks.0.cross_attn.kv_linear.weight")
ALPHA = Family(
    name="PixArt Alpha",
    signature=Signature(has=HAS, where=lambda header: is_alpha(header) and plain(header)),
    latent=SD1,
    sizes=sizes,
    build=PixArtNet,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=Joiner("PixArt", "T5 v1.1 XXL", ("pixart",), join),
)
SIGMA = replace(
    ALPHA,
    name="PixArt Sigma",
    signature=replace(ALPHA.signature, where=lambda header: not is_alpha(header) and plain(header)),
    latent=SDXL,
)
FAMILIES = (ALPHA, SIGMA)
