"""Krea 2, and Turbo: one stream told by twelve layers of Qwen 3 VL (4B), on Qwen Image's latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import WAN
from backend.diffusion.noise import flow_noise
from backend.families import Family, references
from backend.families.krea2.names import from_diffusers, to_diffusers
from backend.families.krea2.net import PATCH, Krea2Net, Krea2Sizes
from backend.families.krea2.texts import TEXT
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Krea 2"
CLEAN = "index_timestep_zero"
"""The way of placing references, one behind the other, that also tells the net that they are clean."""
MU = 1.15
"""Log of the shift that Turbo was distilled at."""


def sizes(header: Header) -> Krea2Sizes:
    """Sizes from shapes; a head is as wide as what its keys are normalised with."""
    width, patch = header["first.weight"].shape
    head = header["blocks.0.attn.qknorm.qnorm.scale"].shape[0]
    text = header["txtmlp.0.scale"].shape[0]
    fusion = "txtfusion.refiner_blocks.0."
    text_head = header[f"{fusion}attn.qknorm.qnorm.scale"].shape[0]
    return Krea2Sizes(
        channels=patch // (PATCH * PATCH),
        width=width,
        heads=width // head,
        groups=header["blocks.0.attn.wk.weight"].shape[0] // head,
        hidden=header["blocks.0.mlp.up.weight"].shape[0],
        layers=count(header, "blocks"),
        time=header["tmlp.0.weight"].shape[1],
        text=text,
        text_layers=header["txtfusion.projector.weight"].shape[1],
        text_heads=text // text_head,
        text_groups=header[f"{fusion}attn.wk.weight"].shape[0] // text_head,
        text_hidden=header[f"{fusion}mlp.up.weight"].shape[0],
        layerwise=count(header, "txtfusion.layerwise_blocks"),
        refiners=count(header, "txtfusion.refiner_blocks"),
        rows=len(header["blocks.0.mod.lin"].shape) == 2,
    )


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens, the layers of each side by side, and which tokens are real. Raises BadInput for a text of another model."""
    assert isinstance(sizes, Krea2Sizes)
    context = torch.cat([cond["cross_attn"] for cond in conds])
    if context.shape[-1] != sizes.text * sizes.text_layers:
        raise BadInput(
            f"The text encoding is {context.shape[-1]} wide, but this {NAME} model takes {sizes.text_layers} layers of {sizes.text}.",
            hint="Encode the prompt with Qwen 3 VL 4B (Load CLIP, type krea2).",
        )
    real = [cond.get("attention_mask") for cond in conds]
    known = [torch.ones(c["cross_attn"].shape[:2]) if mask is None else mask for c, mask in zip(conds, real, strict=True)]
    if shape[2] != 1:
        raise BadInput(f"The latent has {shape[2]} frames; {NAME} makes single pictures.", hint="Use Empty Latent Image.")
    told = {"context": context, **references.told(conds[0], WAN, CLEAN)}
    some = torch.cat(known).bool()
    return told if bool(some.all()) else {**told, "real": some}  # looked at here, on the host, and not again at every step


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """A picture is a film of one frame to its autoencoder, and nothing but a picture to the net."""
    rest = dict(kwargs)
    method, seen = references.taken(rest)
    shown = [reference[:, :, 0].to(x.dtype) for reference in seen]
    out: Tensor = net(x[:, :, 0], t, rest["context"], rest.get("real"), shown, references.places(method, seen), method == CLEAN)
    return out.unsqueeze(2)


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: residual, queries, repeated keys and values, gate, and the perceptron's two halves."""
    assert isinstance(sizes, Krea2Sizes)
    tokens = shape[0] * (shape[-2] * shape[-1] // PATCH**2 + 512)
    return tokens * (8 * sizes.width + 2 * sizes.hidden) * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(has=("txtfusion.projector.weight", "first.weight", "blocks.0.attn.qknorm.qnorm.scale", "last.modulation.lin")),
    latent=WAN,
    sizes=sizes,
    build=Krea2Net,
    noise=lambda facts: flow_noise(mu=MU, multiplier=1.0),
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=TEXT,
)

FAMILIES = (FAMILY,)
