"""The x2 latent upscaler: doubles the latents of Stable Diffusion 1 and 2 without decoding them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import SD1
from backend.diffusion.noise import ContinuousNoise, DiscreteNoise, NoiseModel, betas, edm
from backend.families import Family
from backend.families.sd.conditions import Cond
from backend.families.sd.shown import required
from backend.families.x2_upscaler.net import UpscalerSizes, UpscalerUNet
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Stable Diffusion x2 latent upscaler"
NODE = "Latent Upscaler Conditioning"
LEVEL = 64
"""Half the width of the embedded noise level of what is shown; the level is zero, so these are ones, then zeros."""
shown = required("concat_latent_image", 4, "the latent to double", NODE)


def sizes_of(header: Header) -> UpscalerSizes:
    """Sizes from shapes. Heads are 64 wide in all published weights; shapes cannot tell."""
    levels = count(header, "down_blocks")
    return UpscalerSizes(
        in_channels=header["conv_in.weight"].shape[1],
        out_channels=header["conv_out.weight"].shape[0],
        channels=tuple(header[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(levels)),
        layers=count(header, "down_blocks.0.resnets"),
        attends=tuple(f"down_blocks.{i}.attentions.0.attn2.to_k.weight" in header for i in range(levels)),
        context=header["up_blocks.0.attentions.0.attn2.to_k.weight"].shape[1],
        condition=header["time_embedding.cond_proj.weight"].shape[1],
    )


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """Stable Diffusion's sigmas on EDM's clock, for data of deviation 1 (Karras et al. 2022, table 1)."""
    return ContinuousNoise(edm(1.0), DiscreteNoise.from_betas(betas("scaled_linear")).sigmas)


def inputs(conds: list[Cond], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """Text, the latent to double, and as the vector condition how noisy that is (not at all) and the pooled text. Raises BadInput."""
    assert isinstance(sizes, UpscalerSizes)
    context = torch.cat([cond["cross_attn"] for cond in conds])
    pooled = [cond.get("pooled_output") for cond in conds]
    width = sizes.condition - 2 * LEVEL
    if context.shape[-1] != sizes.context or any(p is None or p.shape[-1] != width for p in pooled):
        raise BadInput(
            f"The text encoding is {context.shape[-1]} wide, but this {NAME} takes {sizes.context}, and pooled text {width} wide.",
            hint=f"Use CLIP-L, with the node {NODE}.",
        )
    told = torch.cat([torch.ones(LEVEL), torch.zeros(LEVEL)])
    y = torch.cat([torch.cat([told.to(p).expand(len(p), -1), p], dim=1) for p in pooled if p is not None])
    return {"context": context, "concat": SD1.process_in(torch.cat([shown(cond, shape) for cond in conds])), "y": y}


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net and drop its estimate of the error. Raises BadInput for what it has no place for."""
    if kwargs.get("control") or kwargs.get("taps"):
        raise BadInput(f"The {NAME} has no place for ControlNets and patches of attention.", hint="Connect it as it was loaded.")
    out: Tensor = net(torch.cat([x, kwargs["concat"].to(x.dtype)], dim=1), t, kwargs["context"], kwargs["y"])
    return out[:, : x.shape[1]]


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: about a dozen maps at full resolution."""
    assert isinstance(sizes, UpscalerSizes)
    return 12 * shape[0] * shape[-2] * shape[-1] * sizes.channels[0] * 4


def own_names(keys: Iterable[str]) -> dict[str, str]:
    """The net's names are diffusers'."""
    return {key: key for key in keys}


FAMILIES = (
    Family(
        name=NAME,
        signature=Signature(
            has=("time_proj.weight", "time_embedding.cond_proj.weight", "up_blocks.0.attentions.0.attn2.norm_cross.weight")
        ),
        latent=SD1,
        sizes=sizes_of,
        build=UpscalerUNet,
        noise=noise,
        inputs=inputs,
        forward=forward,
        working_bytes=working_bytes,
        from_diffusers=own_names,
        repeats_text=True,
        to_diffusers=lambda sizes, keys: own_names(keys),
    ),
)
