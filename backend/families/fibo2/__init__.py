"""Fibo 2: captions in JSON, read by eighteen layers of Qwen 3 VL (4B), and pictures to edit; on Flux 2's latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import FLUX2
from backend.diffusion.noise import flow_noise
from backend.families import Family
from backend.families.fibo2.net import Fibo2Net, Fibo2Sizes
from backend.families.fibo2.texts import TEXT
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Fibo 2"
MU = 1.15
"""Log of the shift at a megapixel."""
PICTURE = "picture_"
CHANNELS, CELL = 128, 16
"""Channels of a latent, and pixels of a side of one of its cells."""


def sizes(header: Header) -> Fibo2Sizes:
    """Sizes from shapes; a head is as wide as what its keys are normalised with."""
    width, channels = header["x_embedder.weight"].shape
    layers = count(header, "layers")
    return Fibo2Sizes(
        channels=channels,
        width=width,
        heads=width // header["layers.0.attention.norm_k.weight"].shape[0],
        hidden=header["layers.0.feed_forward.w1.weight"].shape[0],
        layers=layers,
        refiners=count(header, "noise_refiner"),
        context=header["perceiver.layers.0.cross_attention.to_k.weight"].shape[1],
        told=header["t_embedder.mlp.2.weight"].shape[0],
        time_hidden=header["t_embedder.mlp.0.weight"].shape[0],
        gists=header["perceiver.latent_queries"].shape[0],
        perceivers=count(header, "perceiver.layers"),
        injected=tuple(i for i in range(layers) if f"layers.{i}.cross_attn_gate" in header),
    )


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens, bundles of layers side by side, and pictures to edit. Raises BadInput for a text or a picture of another
    model."""
    assert isinstance(sizes, Fibo2Sizes)
    context = torch.cat([cond["cross_attn"] for cond in conds])
    bundles = 1 + len(sizes.injected)
    if context.shape[-1] != sizes.context * bundles:
        raise BadInput(
            f"The text encoding is {context.shape[-1]} wide, but this {NAME} model takes {bundles} bundles of {sizes.context}.",
            hint="Encode the prompt with Qwen 3 VL 4B (Load CLIP, type fibo2).",
        )
    made = {"context": context}
    for i, picture in enumerate(conds[0].get("reference_latents") or ()):
        if picture.shape[1] != sizes.channels:
            raise BadInput(
                f"A picture to edit has {picture.shape[1]} channels; {NAME} takes latents of {sizes.channels}.",
                hint="Encode it with Flux 2's VAE.",
            )
        made[f"{PICTURE}{i:02}"] = FLUX2.process_in(picture)
    return made


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    pictures = [kwargs[key].to(x.dtype) for key in sorted(kwargs) if key.startswith(PICTURE)]
    out: Tensor = net(x, t, kwargs["context"], None, pictures)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: what tokens are, are told and attend with, the perceptron's halves, and the text."""
    assert isinstance(sizes, Fibo2Sizes)
    tokens = shape[0] * (2 * shape[-2] * shape[-1] + sizes.gists)
    return tokens * (12 * sizes.width + 2 * sizes.hidden) * 4 + shape[0] * 2048 * sizes.context * (1 + len(sizes.injected)) * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(
        has=("perceiver.latent_queries", "x_embedder.weight", "layers.0.attention.to_q.weight", "final_layer.linear.weight")
    ),
    latent=FLUX2,
    sizes=sizes,
    build=Fibo2Net,
    noise=lambda facts: flow_noise(mu=MU, multiplier=1.0),
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=lambda keys: {key: key for key in keys},
    to_diffusers=lambda sizes, keys: {},
    text=TEXT,
)

FAMILIES = (FAMILY,)
