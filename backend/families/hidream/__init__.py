"""HiDream I1 (full, dev, fast) and E1: experts told by both CLIPs, T5 and every layer of Llama, on Flux's latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import FLUX
from backend.diffusion.noise import flow_noise
from backend.families import Family
from backend.families.hidream.net import PATCH, HiDreamNet, HiDreamSizes
from backend.families.hidream.texts import TEXT
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "HiDream"
HEAD = 128
"""Every published net has heads of this width; shapes cannot tell."""
SHIFT = 3.0
HINT = "Encode the prompt with HiDream's four text encoders (QuadrupleCLIPLoader)."


def sizes(header: Header) -> HiDreamSizes:
    """Sizes from shapes."""
    width, patch = header["x_embedder.proj.weight"].shape
    double, single = count(header, "double_stream_blocks"), count(header, "single_stream_blocks")
    first = "double_stream_blocks.0.block."
    experts = count(header, f"{first}ff_i.experts")
    return HiDreamSizes(
        channels=patch // (PATCH * PATCH),
        width=width,
        heads=width // HEAD,
        double=double,
        single=single,
        experts=experts,
        hidden=header[f"{first}ff_i.experts.0.w1.weight" if experts else f"{first}ff_i.w1.weight"].shape[0],
        shared=header[f"{first}ff_i.shared_experts.w1.weight"].shape[0] if experts else 0,
        text_hidden=header[f"{first}ff_t.w1.weight"].shape[0],
        pooled=header["p_embedder.pooled_embedder.linear_1.weight"].shape[1],
        t5=header[f"caption_projection.{double + single}.linear.weight"].shape[1],
        llama=header["caption_projection.0.linear.weight"].shape[1],
    )


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """T5's tokens, Llama's of every layer, both pooled vectors in a row; a picture to edit. Raises BadInput for a text of another model."""
    assert isinstance(sizes, HiDreamSizes)
    context = torch.cat([cond["cross_attn"] for cond in conds])
    if any(cond.get("conditioning_llama3") is None or cond.get("pooled_output") is None for cond in conds):
        raise BadInput(f"The conditioning lacks the states of Llama or of CLIP, which this {NAME} model needs.", hint=HINT)
    llama = torch.cat([cond["conditioning_llama3"] for cond in conds])
    pooled = torch.cat([cond["pooled_output"] for cond in conds])
    widths = (context.shape[-1], llama.shape[-1], pooled.shape[-1])
    if widths != (sizes.t5, sizes.llama, sizes.pooled):
        raise BadInput(
            f"The text encodings are {widths[0]}, {widths[1]} and {widths[2]} wide, but this {NAME} model takes {sizes.t5}, {sizes.llama}"
            f" and {sizes.pooled}.",
            hint=HINT,
        )
    lengths = torch.ones(len(context), context.shape[1], dtype=torch.bool)  # texts of unequal length never share a batch
    made = {"context": context, "llama": llama, "y": pooled, "lengths": lengths}
    beside = [cond.get("concat_latent_image") for cond in conds]
    if all(picture is not None for picture in beside):
        made["beside"] = FLUX.process_in(torch.cat([picture for picture in beside if picture is not None]))
    return made


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """The net predicts from noise to picture."""
    told = {key: kwargs[key] for key in ("context", "llama", "y")}
    beside = kwargs.get("beside")
    out: Tensor = net(x, t, **told, beside=None if beside is None else beside.to(x.dtype))
    return -out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: what all tokens are and attend with, and an expert's two halves; a picture may lie beside."""
    assert isinstance(sizes, HiDreamSizes)
    tokens = shape[0] * (2 * shape[-2] * shape[-1] // PATCH**2 + 384)
    return tokens * (8 * sizes.width + 2 * max(sizes.hidden, sizes.text_hidden)) * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(
        has=("caption_projection.0.linear.weight", "double_stream_blocks.0.block.attn1.to_q_t.weight", "x_embedder.proj.weight")
    ),
    latent=FLUX,
    sizes=sizes,
    build=HiDreamNet,
    noise=lambda facts: flow_noise(SHIFT),
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=lambda keys: {key: key for key in keys},
    to_diffusers=lambda sizes, keys: {},
    text=TEXT,
)

FAMILIES = (FAMILY,)
